//! Axes: the position of a value, and the values that are marked.

/// An axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// A linear axis that starts at zero.
    Linear {
        /// The last value.
        high: f64,
    },
    /// A logarithmic axis between two positive values.
    Log {
        /// The first value.
        low: f64,
        /// The last value.
        high: f64,
    },
}

impl Scale {
    /// Creates a linear axis from zero to the first round value that is not less than any of
    /// `values`.
    pub fn linear(values: impl IntoIterator<Item = f64>) -> Self {
        let most = values.into_iter().fold(0.0, f64::max);
        let high = if most > 0.0 { most } else { 1.0 };
        let step = round_step(high, 5);
        Self::Linear {
            high: (high / step).ceil() * step,
        }
    }

    /// Creates a logarithmic axis from slightly below the smallest of `values` to slightly above the
    /// largest.
    ///
    /// Values that are not positive cannot be shown on it, and are ignored.
    pub fn log(values: impl IntoIterator<Item = f64>) -> Self {
        let positive = values.into_iter().filter(|&value| value > 0.0);
        let (low, high) = positive.fold((f64::INFINITY, 0.0_f64), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        if high == 0.0 {
            return Self::Log {
                low: 1.0,
                high: 10.0,
            };
        }
        // A single value is placed in the middle of a decade.
        let margin = if low == high { 10_f64.sqrt() } else { 1.15 };
        Self::Log {
            low: low / margin,
            high: high * margin,
        }
    }

    /// Returns the position of a value as a fraction of the axis, from 0 to 1.
    pub fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear { high } => value / high,
            Self::Log { low, high } => {
                let value = value.max(low);
                (value / low).ln() / (high / low).ln()
            }
        }
    }

    /// Returns about `count` round values on the axis.
    pub fn ticks(self, count: usize) -> Vec<f64> {
        match self {
            Self::Linear { high } => {
                let step = round_step(high, count);
                let steps = (high / step + 1e-9) as usize;
                (0..=steps).map(|index| index as f64 * step).collect()
            }
            Self::Log { low, high } => {
                let each_decade: [&[f64]; 3] = [&[1.0, 2.0, 5.0], &[1.0, 3.0], &[1.0]];
                let ticks = each_decade.map(|digits| round_values(low, high, digits));
                let few = ticks.iter().find(|ticks| ticks.len() <= count);
                few.unwrap_or(&ticks[2]).clone()
            }
        }
    }
}

/// Returns the smallest round step with which at most `count` steps reach `high`.
fn round_step(high: f64, count: usize) -> f64 {
    let least = high / count as f64;
    let magnitude = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 2.5, 5.0]
        .map(|round| round * magnitude)
        .into_iter()
        .find(|step| *step >= least * (1.0 - 1e-9))
        .unwrap_or(10.0 * magnitude)
}

/// Returns the products of these digits and powers of ten that are between `low` and `high`.
fn round_values(low: f64, high: f64, digits: &[f64]) -> Vec<f64> {
    let decades = low.log10().floor() as i32..=high.log10().floor() as i32;
    decades
        .flat_map(|decade| digits.iter().map(move |digit| digit * 10_f64.powi(decade)))
        .filter(|value| (low..=high).contains(value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_axes_end_at_a_round_value() {
        let scale = Scale::linear([0.1, 0.366]);
        assert_eq!(scale.ticks(5), [0.0, 0.1, 0.2, 0.30000000000000004, 0.4]);
        assert_eq!(scale.place(0.0), 0.0);
        assert_eq!(scale.place(0.4), 1.0);
        assert_eq!(Scale::linear([10.0]), Scale::Linear { high: 10.0 });
        assert_eq!(Scale::linear([]), Scale::Linear { high: 1.0 });
    }

    #[test]
    fn log_axes_mark_fewer_values_where_there_is_less_room() {
        let scale = Scale::log([247.0, 182_790.0]);
        assert_eq!(scale.ticks(12).len(), 9);
        assert_eq!(scale.ticks(6), [300.0, 1e3, 3e3, 1e4, 3e4, 1e5]);
        assert_eq!(scale.ticks(4), [1e3, 1e4, 1e5]);
        assert!(scale.place(247.0) > 0.0 && scale.place(182_790.0) < 1.0);
        let thousand = scale.place(1e4) - scale.place(1e3);
        assert!((thousand - (scale.place(1e5) - scale.place(1e4))).abs() < 1e-12);
    }

    #[test]
    fn a_single_value_stands_in_the_middle() {
        assert!((Scale::log([50.0]).place(50.0) - 0.5).abs() < 1e-12);
        assert!(Scale::log([0.0]).place(0.0).is_finite());
    }
}
