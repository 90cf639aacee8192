//! Text into tokens with their place.
//!
//! Absent: grammar.

use plantwin_model::Span;

use crate::problem::Complaint;

/// Longest equation, in bytes.
pub(crate) const TEXT_LIMIT: usize = 4096;

/// What a token is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Token {
    Number(f64),
    Name,
    Plus,
    Minus,
    Star,
    Slash,
    Caret,
    Open,
    Close,
    Comma,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Equal,
    NotEqual,
    End,
}

/// A token and its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lexeme {
    pub(super) token: Token,
    pub(super) span: Span,
}

/// Splits `text` into tokens; the last one is [`Token::End`].
pub(super) fn lex(text: &str) -> Result<Vec<Lexeme>, Complaint> {
    if text.len() > TEXT_LIMIT {
        let message = format!("the equation has {} bytes, at most {TEXT_LIMIT} fit", text.len());
        return Err(Complaint::new("too-long", Span::from(0..text.len()), message)
            .help("split it with [model.local]"));
    }
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        let (token, length) = match byte {
            b'0'..=b'9' | b'.' => number(text, at)?,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => (Token::Name, name(&bytes[at..])),
            _ => symbol(text, at)?,
        };
        out.push(Lexeme { token, span: Span::from(at..at + length) });
        at += length;
    }
    out.push(Lexeme { token: Token::End, span: Span::from(at..at) });
    Ok(out)
}

fn name(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count()
}

/// Digits, a fraction, an exponent; the standard library judges and rounds.
fn number(text: &str, at: usize) -> Result<(Token, usize), Complaint> {
    let bytes = &text.as_bytes()[at..];
    let digits = |from: usize| {
        bytes.iter().skip(from).take_while(|b| b.is_ascii_digit() || **b == b'.').count()
    };
    let mut end = digits(0);
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits(end + 1 + sign);
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    // `2pi` and `3e` are mistakes, not products.
    let tail = name(&bytes[end..]);
    let whole = &text[at..at + end + tail];
    match whole.parse::<f64>() {
        Ok(value) if value.is_finite() && tail == 0 => Ok((Token::Number(value), end)),
        _ => {
            let span = Span::from(at..at + end + tail);
            Err(Complaint::new("syntax", span, format!("`{whole}` is not a number")))
        }
    }
}

fn symbol(text: &str, at: usize) -> Result<(Token, usize), Complaint> {
    let rest = &text[at..];
    for (two, token) in [
        ("<=", Token::LessEqual),
        (">=", Token::GreaterEqual),
        ("==", Token::Equal),
        ("!=", Token::NotEqual),
    ] {
        if rest.starts_with(two) {
            return Ok((token, 2));
        }
    }
    let token = match rest.as_bytes().first() {
        Some(b'+') => Token::Plus,
        Some(b'-') => Token::Minus,
        Some(b'*') => Token::Star,
        Some(b'/') => Token::Slash,
        Some(b'^') => Token::Caret,
        Some(b'(') => Token::Open,
        Some(b')') => Token::Close,
        Some(b',') => Token::Comma,
        Some(b'<') => Token::Less,
        Some(b'>') => Token::Greater,
        _ => {
            let symbol = rest.chars().next().unwrap_or(' ');
            let span = Span::from(at..at + symbol.len_utf8());
            let complaint = Complaint::new("syntax", span, format!("`{symbol}` has no meaning"));
            return Err(match symbol {
                '=' => complaint.help("compare with `==`"),
                '&' => complaint.help("multiply conditions instead: `(a > 1) * (b > 1)`"),
                '|' => complaint.help("use `max(a > 1, b > 1)`"),
                _ => complaint,
            });
        }
    };
    Ok((token, 1))
}
