//! Numbers formatted for people.

use std::fmt::Display;

/// Formats a number with at least three significant digits, and no more decimals than that takes.
pub fn three_digits(x: f64) -> String {
    let decimals = match x {
        x if x < 9.995 => 2,
        x if x < 99.95 => 1,
        _ => 0,
    };
    format!("{x:.decimals$}")
}

/// Formats a number with at most `decimals` decimals and no trailing zeros.
pub fn without_zeros(x: f64, decimals: usize) -> String {
    let text = format!("{x:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// Formats a fraction of one as a percentage with two decimals.
pub fn percent(share: f64) -> String {
    format!("{:.2}%", share * 100.0)
}

/// Formats a number with a comma before every three digits.
pub fn grouped(n: impl Display) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns the plural ending for `count` things.
pub fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(three_digits(0.0), "0.00");
        assert_eq!(three_digits(9.996), "10.0");
        assert_eq!(three_digits(99.96), "100");
        assert_eq!(three_digits(12_345.6), "12346");
        assert_eq!(without_zeros(0.1 + 0.2, 2), "0.3");
        assert_eq!(without_zeros(2.5, 2), "2.5");
        assert_eq!(without_zeros(1200.0, 2), "1200");
        assert_eq!(without_zeros(1200.0, 0), "1200");
        assert_eq!(percent(0.123_456), "12.35%");
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(123), "123");
    }
}
