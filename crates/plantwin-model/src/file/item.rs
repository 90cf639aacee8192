//! One key with its value: reads the value as what it should be, or reports what is wrong.
//!
//! Absent: defaults and cross references.

use std::time::Duration;

use toml::{
    Spanned,
    de::{DeString, DeValue},
};

use super::{
    parse::Scope,
    quantity::{duration, is_name, quoted, show, split, unit_help, unit_message},
    suggest::suggest,
    table::Table,
};
use crate::{SourceText, Span, Unit};

/// A key and its value; the elements of an array carry the name `element`.
#[derive(Clone, Copy)]
pub(super) struct Item<'t, 'i> {
    pub(super) scope: &'t Scope<'t>,
    pub(super) key: &'t str,
    pub(super) key_span: Span,
    pub(super) span: Span,
    value: &'t DeValue<'i>,
}

impl<'t, 'i> Item<'t, 'i> {
    pub(super) fn new(
        scope: &'t Scope<'t>,
        key: &'t Spanned<DeString<'i>>,
        value: &'t Spanned<DeValue<'i>>,
    ) -> Self {
        Self {
            scope,
            key: key.get_ref(),
            key_span: key.span().into(),
            span: value.span().into(),
            value: value.get_ref(),
        }
    }

    /// The same, for reporting at the key.
    pub(super) fn at_key(&self) -> Self {
        Self { span: self.key_span, ..*self }
    }

    /// Reports an error at the value.
    pub(super) fn error(&self, code: &'static str, message: impl Into<String>) {
        self.scope.error(self.span, code, message);
    }

    /// Reports that the value `got` is none of `known`.
    pub(super) fn unknown<'k>(
        &self,
        code: &'static str,
        got: &str,
        what: &str,
        known: impl Iterator<Item = &'k str> + Clone,
    ) {
        let help = suggest(self.scope.report, got, &format!("{what}s"), known);
        self.scope.error_help(self.span, code, format!("unknown {what} `{}`", quoted(got)), help);
    }

    /// Reports that the value is of another kind than `expected`.
    pub(super) fn wrong(&self, expected: &str) {
        let found = match self.value {
            DeValue::String(_) => "text",
            DeValue::Integer(_) => "integer",
            DeValue::Float(_) => "number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "date",
            DeValue::Array(_) => "array",
            DeValue::Table(_) => "table",
        };
        let key = quoted(self.key);
        self.error("wrong-type", format!("`{key}`: expected {expected}, found {found}"));
    }

    /// Whether the value is a table.
    pub(super) fn is_table(&self) -> bool {
        self.value.is_table()
    }

    /// Whether the value is text.
    pub(super) fn is_text(&self) -> bool {
        self.value.is_str()
    }

    /// The key as a name; `dashes` says whether `-` may be in it.
    pub(super) fn name(&self, dashes: bool) -> Option<&'t str> {
        if is_name(self.key, dashes) {
            return Some(self.key);
        }
        let key = quoted(self.key);
        self.scope.error_help(
            self.key_span,
            "bad-name",
            format!("`{key}` is not a name"),
            Some(name_rule(dashes)),
        );
        None
    }

    /// The value as text.
    pub(super) fn text(&self) -> Option<&'t str> {
        let text = self.value.as_str();
        if text.is_none() {
            self.wrong("text");
        }
        text
    }

    /// The value as a name.
    pub(super) fn text_name(&self, dashes: bool) -> Option<&'t str> {
        let text = self.text()?;
        if is_name(text, dashes) {
            return Some(text);
        }
        let message = format!("`{}` is not a name", quoted(text));
        self.scope.error_help(self.span, "bad-name", message, Some(name_rule(dashes)));
        None
    }

    /// The value as text with its place inside the quotes.
    pub(super) fn source(&self) -> Option<SourceText> {
        let text = self.text()?.to_owned();
        let raw = self.scope.text.get(self.span.start as usize..self.span.end as usize)?;
        let quotes = if raw.starts_with("\"\"\"") || raw.starts_with("'''") { 3 } else { 1 };
        let inner = raw.get(quotes..raw.len().saturating_sub(quotes)).unwrap_or_default();
        // A line break right after three quotes is not part of the text.
        let rest = match (quotes, inner) {
            (3, s) => s.strip_prefix("\r\n").or_else(|| s.strip_prefix('\n')).unwrap_or(s),
            (_, s) => s,
        };
        let start = self.span.start + (quotes + inner.len() - rest.len()) as u32;
        Some(SourceText { text, span: Span { start, end: start + rest.len() as u32 } })
    }

    /// The value as a finite number.
    pub(super) fn number(&self) -> Option<f64> {
        let number = match self.value {
            DeValue::Integer(i) => {
                i64::from_str_radix(i.as_str(), i.radix()).ok().map(|i| i as f64)
            }
            DeValue::Float(f) => f.as_str().parse().ok(),
            _ => {
                self.wrong("number");
                return None;
            }
        };
        self.finite(number.unwrap_or(f64::NAN))
    }

    /// `number`, if it is finite: a large number in a large unit may not be.
    pub(super) fn finite(&self, number: f64) -> Option<f64> {
        if number.is_finite() {
            return Some(number);
        }
        self.error("out-of-range", format!("`{}` is not a finite number", quoted(self.key)));
        None
    }

    /// The value as a number of at least 0.
    pub(super) fn not_negative(&self, number: f64) -> Option<f64> {
        if number >= 0.0 {
            return Some(number);
        }
        self.error("out-of-range", format!("`{}` must not be negative", quoted(self.key)));
        None
    }

    /// The value as a whole number within bounds, inclusive.
    pub(super) fn integer(&self, low: i64, high: i64) -> Option<i64> {
        let DeValue::Integer(i) = self.value else {
            self.wrong("integer");
            return None;
        };
        let number = i64::from_str_radix(i.as_str(), i.radix()).ok();
        let inside = number.filter(|n| (low..=high).contains(n));
        if inside.is_none() {
            let message = format!("`{}` must lie within {low} and {high}", quoted(self.key));
            self.error("out-of-range", message);
        }
        inside
    }

    /// The value as `true` or `false`.
    pub(super) fn flag(&self) -> Option<bool> {
        let flag = self.value.as_bool();
        if flag.is_none() {
            self.wrong("true or false");
        }
        flag
    }

    /// The value as a table; `what` is how messages call it.
    pub(super) fn table(&self, what: String) -> Option<Table<'t, 'i>> {
        let Some(entries) = self.value.as_table() else {
            self.wrong("table");
            return None;
        };
        Some(Table::new(self.scope, what, self.span, entries))
    }

    /// The value as an array.
    pub(super) fn array(&self) -> Option<Vec<Self>> {
        let Some(array) = self.value.as_array() else {
            self.wrong("array");
            return None;
        };
        let element = |value: &'t Spanned<DeValue<'i>>| Self {
            span: value.span().into(),
            value: value.get_ref(),
            ..*self
        };
        Some(array.iter().map(element).collect())
    }

    /// One of the words of `choices`.
    pub(super) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        let found = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let words: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            let key = quoted(self.key);
            let help = format!("write one of {}", words.join(", "));
            let message = format!("`{key}` cannot be \"{}\"", quoted(text));
            self.scope.error_help(self.span, "bad-value", message, help);
        }
        found
    }

    /// The value as a duration within bounds, inclusive.
    pub(super) fn duration(&self, low: Duration, high: Duration) -> Option<Duration> {
        const HELP: &str = "write a number and ns, us, ms, s, min, h or d: \"100ms\"";
        let Some(text) = self.value.as_str() else {
            self.wrong("a duration such as \"100ms\"");
            return None;
        };
        match duration(text) {
            Ok(d) if d < low || d > high => {
                let key = quoted(self.key);
                let message = format!("`{key}` must lie within {} and {}", show(low), show(high));
                self.error("out-of-range", message);
                None
            }
            Ok(d) => Some(d),
            Err(message) => {
                self.scope.error_help(self.span, "bad-duration", message, HELP.to_owned());
                None
            }
        }
    }

    /// The value as a unit code.
    pub(super) fn unit(&self) -> Option<Unit> {
        self.unit_of(self.text()?)
    }

    fn unit_of(&self, code: &str) -> Option<Unit> {
        match Unit::parse(code) {
            Ok(unit) => Some(unit),
            Err(error) => {
                let help = unit_help(self.scope.report, code, &error);
                self.scope.error_help(self.span, "bad-unit", unit_message(code, &error), help);
                None
            }
        }
    }

    /// The value as a number with its unit: bare numbers are dimensionless.
    pub(super) fn amount(&self) -> Option<(f64, Unit)> {
        let Some(text) = self.value.as_str() else {
            return Some((self.number()?, Unit::one()));
        };
        let Some((number, code)) = split(text) else {
            let message = format!("`{}` is not a number with a unit", quoted(text));
            self.scope.error_help(
                self.span,
                "bad-quantity",
                message,
                "write it like \"28 cm2\"".to_owned(),
            );
            return None;
        };
        Some((number, self.unit_of(code)?))
    }

    /// The value in `unit`: a bare number is in that unit, text brings its own unit along.
    pub(super) fn quantity(&self, unit: &Unit) -> Option<f64> {
        let (number, own) = self.given(unit)?;
        self.finite(match own {
            Some(own) if own.code() != unit.code() => unit.from_si(own.to_si(number)),
            _ => number,
        })
    }

    /// Same for a distance between two values: offsets of temperature scales do not count.
    pub(super) fn difference(&self, unit: &Unit) -> Option<f64> {
        let (number, own) = self.given(unit)?;
        self.finite(match own {
            Some(own) if own.code() != unit.code() => number * own.scale() / unit.scale(),
            _ => number,
        })
    }

    /// The value in SI base units; a bare number is in `unit`.
    pub(super) fn si(&self, unit: &Unit) -> Option<f64> {
        let (number, own) = self.given(unit)?;
        self.finite(own.as_ref().unwrap_or(unit).to_si(number))
    }

    /// Change per second in `unit`, e.g. `0.05 cm/s` for cm.
    pub(super) fn rate(&self, unit: &Unit) -> Option<f64> {
        if !self.is_text() {
            return self.number();
        }
        let (number, own) = self.amount()?;
        let want = unit.dimension().over(crate::Dimension::TIME);
        if Some(own.dimension()) != want {
            let key = quoted(self.key);
            let message = format!(
                "`{key}` must be a change per time such as `{unit}/s`, but `{own}` has dimension {}",
                own.dimension()
            );
            self.error("wrong-dimension", message);
            return None;
        }
        self.finite(number * own.scale() / unit.scale())
    }

    fn given(&self, unit: &Unit) -> Option<(f64, Option<Unit>)> {
        if !self.is_text() {
            return Some((self.number()?, None));
        }
        let (number, own) = self.amount()?;
        if own.dimension() != unit.dimension() {
            let key = quoted(self.key);
            let message = if unit.dimension() == crate::Dimension::ONE {
                format!(
                    "`{key}` must be a pure number, but `{own}` has dimension {}",
                    own.dimension()
                )
            } else {
                format!(
                    "`{key}` must have dimension {} as `{unit}` has, but `{own}` has dimension {}",
                    unit.dimension(),
                    own.dimension()
                )
            };
            self.error("wrong-dimension", message);
            return None;
        }
        Some((number, Some(own)))
    }
}

fn name_rule(dashes: bool) -> String {
    let dash = if dashes { ", `-`" } else { "" };
    format!("a letter, then letters, digits, `_`{dash}; at most 64 characters")
}
