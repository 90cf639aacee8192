//! Tokens into a tree, by precedence climbing.
//!
//! Loosest first: comparisons (not chained), `+ -`, `* /`, sign, `^` (from the right, so that
//! `-a^2` is `-(a^2)` and `a^b^c` is `a^(b^c)`). Absent: what names mean (see [`super::analyse`]).

use plantwin_model::Span;

use super::lexer::{Lexeme, Token, lex};
use crate::problem::Complaint;

/// Deepest nesting: parentheses, calls, signs and towers of `^` count alike.
pub(super) const DEPTH_LIMIT: usize = 64;

/// Most arguments of any function.
pub(super) const MAX_ARGS: usize = 3;

/// An operator of two operands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Infix {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Equal,
    NotEqual,
}

impl Infix {
    const fn of(token: Token) -> Option<Self> {
        Some(match token {
            Token::Plus => Self::Add,
            Token::Minus => Self::Sub,
            Token::Star => Self::Mul,
            Token::Slash => Self::Div,
            Token::Caret => Self::Pow,
            Token::Less => Self::Less,
            Token::LessEqual => Self::LessEqual,
            Token::Greater => Self::Greater,
            Token::GreaterEqual => Self::GreaterEqual,
            Token::Equal => Self::Equal,
            Token::NotEqual => Self::NotEqual,
            _ => return None,
        })
    }

    const fn power(self) -> u8 {
        match self {
            Self::Add | Self::Sub => 2,
            Self::Mul | Self::Div => 3,
            Self::Pow => 5,
            _ => 1,
        }
    }

    pub(super) const fn is_comparison(self) -> bool {
        self.power() == 1
    }
}

/// Power of a sign: above `*`, below `^`.
const SIGN: u8 = 4;

/// A node; operands are indices of earlier nodes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Kind {
    Number(f64),
    Name,
    Neg(u16),
    Infix(Infix, u16, u16),
    /// Name of the function, and its arguments.
    Call(Span, [u16; MAX_ARGS], u8),
}

/// A node with its place in the text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
}

impl Node {
    /// The operands.
    pub(super) fn operands(&self) -> impl Iterator<Item = usize> + use<> {
        let (all, count) = match self.kind {
            Kind::Number(_) | Kind::Name => ([0; MAX_ARGS], 0),
            Kind::Neg(a) => ([a, 0, 0], 1),
            Kind::Infix(_, a, b) => ([a, b, 0], 2),
            Kind::Call(_, args, count) => (args, usize::from(count)),
        };
        all.into_iter().take(count).map(usize::from)
    }
}

/// Parses a whole text into nodes in post-order; the root is the last.
pub(crate) fn parse(text: &str) -> Result<Vec<Node>, Complaint> {
    let mut parser = Parser { text, tokens: lex(text)?, at: 0, nodes: Vec::new() };
    parser.expression(0, 1)?;
    let next = parser.peek();
    if next.token == Token::End {
        return Ok(parser.nodes);
    }
    Err(match next.token {
        Token::Close => Complaint::new("syntax", next.span, "`)` without `(`"),
        _ => parser.unexpected("an operator"),
    })
}

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Lexeme>,
    at: usize,
    nodes: Vec<Node>,
}

impl Parser<'_> {
    fn peek(&self) -> Lexeme {
        // `lex` always ends with `End`, and nothing moves beyond it.
        let end = Lexeme { token: Token::End, span: Span::default() };
        self.tokens.get(self.at).copied().unwrap_or(end)
    }

    fn next(&mut self) -> Lexeme {
        let lexeme = self.peek();
        if lexeme.token != Token::End {
            self.at += 1;
        }
        lexeme
    }

    fn push(&mut self, kind: Kind, start: u32, end: u32) -> u16 {
        // The text's limit bounds the nodes far below `u16::MAX`.
        self.nodes.push(Node { kind, span: Span { start, end } });
        (self.nodes.len() - 1) as u16
    }

    fn span(&self, node: u16) -> Span {
        self.nodes[usize::from(node)].span
    }

    fn unexpected(&self, wanted: &str) -> Complaint {
        let Lexeme { token, span } = self.peek();
        let found = match token {
            Token::End => "the equation ends".into(),
            _ => format!("found `{}`", &self.text[span.start as usize..span.end as usize]),
        };
        Complaint::new("syntax", span, format!("expected {wanted}, but {found}"))
    }

    /// An expression of operators that bind at least as tightly as `least`.
    fn expression(&mut self, least: u8, depth: usize) -> Result<u16, Complaint> {
        if depth > DEPTH_LIMIT {
            let message = format!("the equation nests deeper than {DEPTH_LIMIT} levels");
            return Err(Complaint::new("too-deep", self.peek().span, message)
                .help("split it with [model.local]"));
        }
        let mut left = self.operand(depth)?;
        while let Some(op) = Infix::of(self.peek().token).filter(|op| op.power() >= least) {
            self.next();
            let right_least = if op == Infix::Pow { SIGN } else { op.power() + 1 };
            let right = self.expression(right_least, depth + 1)?;
            let (start, end) = (self.span(left).start, self.span(right).end);
            left = self.push(Kind::Infix(op, left, right), start, end);
            let next = self.peek();
            if op.is_comparison() && Infix::of(next.token).is_some_and(Infix::is_comparison) {
                let message = "comparisons cannot be chained";
                return Err(Complaint::new("syntax", next.span, message)
                    .help("multiply them: `(a < b) * (b < c)`"));
            }
        }
        Ok(left)
    }

    fn operand(&mut self, depth: usize) -> Result<u16, Complaint> {
        let Lexeme { token, span } = self.peek();
        match token {
            Token::Number(value) => {
                self.next();
                Ok(self.push(Kind::Number(value), span.start, span.end))
            }
            Token::Name => {
                self.next();
                if self.peek().token == Token::Open {
                    return self.call(span, depth);
                }
                Ok(self.push(Kind::Name, span.start, span.end))
            }
            Token::Minus => {
                self.next();
                let inner = self.expression(SIGN, depth + 1)?;
                let end = self.span(inner).end;
                Ok(self.push(Kind::Neg(inner), span.start, end))
            }
            Token::Plus => {
                self.next();
                self.expression(SIGN, depth + 1)
            }
            Token::Open => {
                self.next();
                let inner = self.expression(0, depth + 1)?;
                self.close(span)?;
                Ok(inner)
            }
            _ => Err(self.unexpected("a number, a name or `(`")),
        }
    }

    fn call(&mut self, name: Span, depth: usize) -> Result<u16, Complaint> {
        let open = self.next().span;
        let (mut args, mut count) = ([0; MAX_ARGS], 0);
        while self.peek().token != Token::Close {
            if count > 0 && self.next().token != Token::Comma {
                self.at -= 1;
                return Err(self.unexpected("`,` or `)`"));
            }
            let Some(slot) = args.get_mut(count) else {
                let message = format!("no function takes more than {MAX_ARGS} arguments");
                return Err(Complaint::new("arguments", self.peek().span, message));
            };
            *slot = self.expression(0, depth + 1)?;
            count += 1;
            if self.peek().token == Token::End {
                break;
            }
        }
        let end = self.close(open)?;
        Ok(self.push(Kind::Call(name, args, count as u8), name.start, end))
    }

    fn close(&mut self, open: Span) -> Result<u32, Complaint> {
        match self.peek() {
            Lexeme { token: Token::Close, span } => {
                self.next();
                Ok(span.end)
            }
            Lexeme { token: Token::End, .. } => {
                Err(Complaint::new("syntax", open, "`(` is never closed"))
            }
            _ => Err(self.unexpected("`)` or an operator")),
        }
    }
}
