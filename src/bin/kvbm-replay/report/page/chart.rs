//! A chart: curves over the pool size, as an SVG element.
//!
//! The style sheet assigns colours and dashes by the class of each curve.

use maud::{Markup, html};

use super::look::look;
use super::scale::Scale;
use crate::policy::Policy;
use crate::report::numbers::{grouped, without_zeros};

/// A value at one pool size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The number of blocks in the pool.
    pub blocks: usize,
    /// The value.
    pub value: f64,
}

/// The values of one policy, in the order of increasing pool sizes.
pub struct Curve {
    /// The policy.
    pub policy: Policy,
    /// Its values.
    pub points: Vec<Point>,
}

/// Curves over the pool size.
pub struct Chart<'a> {
    /// A description for people who cannot see the chart.
    pub title: &'a str,
    /// The axis of pool sizes.
    pub x: Scale,
    /// The axis of values.
    pub y: Scale,
    /// Formats a value on the axis.
    pub tick: fn(f64) -> String,
    /// Formats a value in a tooltip.
    pub value: fn(f64) -> String,
    /// One curve per policy.
    pub curves: Vec<Curve>,
    /// The optimum, which is drawn as a band above the best curve. May be empty.
    pub optimum: Vec<Point>,
    /// The number of distinct blocks, of which the second axis shows fractions.
    pub distinct_blocks: usize,
}

/// The dimensions of a chart, in units in which text is 13 high.
#[derive(Clone, Copy)]
pub struct Size {
    width: f64,
    height: f64,
    x_ticks: usize,
    /// Whether there is a second axis, with percentages of the distinct blocks.
    shares: bool,
}

impl Size {
    /// As wide as the page.
    pub const WIDE: Self = Self {
        width: 1040.0,
        height: 470.0,
        x_ticks: 12,
        shares: true,
    };
    /// As wide as a phone.
    pub const TALL: Self = Self {
        width: 420.0,
        height: 420.0,
        x_ticks: 5,
        shares: true,
    };
    /// One of several in a row.
    pub const SMALL: Self = Self {
        width: 360.0,
        height: 270.0,
        x_ticks: 4,
        shares: false,
    };
}

const LEFT: f64 = 52.0;
const RIGHT: f64 = 14.0;
const BOTTOM: f64 = 44.0;

/// A chart with the dimensions it is drawn in.
struct Plane<'a> {
    chart: &'a Chart<'a>,
    size: Size,
    top: f64,
}

impl Chart<'_> {
    /// Draws the chart as an SVG element.
    pub fn draw(&self, size: Size) -> Markup {
        let top = if size.shares { 40.0 } else { 12.0 };
        let plane = Plane {
            chart: self,
            size,
            top,
        };
        html! {
            svg viewBox=(format!("0 0 {} {}", size.width, size.height)) role="img" aria-label=(self.title) {
                (plane.axes())
                (plane.columns())
                (plane.optimum())
                @for curve in &self.curves {
                    (plane.curve(curve))
                }
            }
        }
    }

    fn best_at(&self, blocks: usize) -> Option<f64> {
        let points = self.curves.iter().flat_map(|curve| &curve.points);
        points
            .filter(|point| point.blocks == blocks)
            .map(|point| point.value)
            .reduce(f64::max)
    }

    /// Returns the pool sizes that have points, in increasing order.
    fn sizes(&self) -> Vec<usize> {
        let points = self.curves.iter().flat_map(|curve| &curve.points);
        let mut sizes: Vec<usize> = points.map(|point| point.blocks).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    fn pool(&self, blocks: usize) -> String {
        let share = blocks as f64 / self.distinct_blocks as f64 * 100.0;
        format!(
            "{} blocks, {} of the distinct blocks",
            grouped(blocks),
            share_tick(share)
        )
    }
}

impl Plane<'_> {
    fn right(&self) -> f64 {
        self.size.width - RIGHT
    }

    fn bottom(&self) -> f64 {
        self.size.height - BOTTOM
    }

    fn x(&self, blocks: f64) -> f64 {
        LEFT + self.chart.x.place(blocks) * (self.right() - LEFT)
    }

    fn y(&self, value: f64) -> f64 {
        self.bottom() - self.chart.y.place(value) * (self.bottom() - self.top)
    }

    fn at(&self, point: &Point) -> (f64, f64) {
        (self.x(point.blocks as f64), self.y(point.value))
    }

    fn axes(&self) -> Markup {
        let (right, bottom) = (self.right(), self.bottom());
        let middle = (LEFT + right) / 2.0;
        html! {
            @for value in self.chart.y.ticks(6) {
                @let y = self.y(value);
                line.grid x1=(px(LEFT)) x2=(px(right)) y1=(px(y)) y2=(px(y)) {}
                text.tick text-anchor="end" x=(px(LEFT - 8.0)) y=(px(y + 4.5)) { ((self.chart.tick)(value)) }
            }
            @for blocks in self.chart.x.ticks(self.size.x_ticks) {
                @let x = self.x(blocks);
                line.grid x1=(px(x)) x2=(px(x)) y1=(px(self.top)) y2=(px(bottom)) {}
                text.tick text-anchor="middle" x=(px(x)) y=(px(bottom + 18.0)) { (short(blocks)) }
            }
            line.axis x1=(px(LEFT)) x2=(px(right)) y1=(px(bottom)) y2=(px(bottom)) {}
            text.name text-anchor="middle" x=(px(middle)) y=(px(bottom + 38.0)) { "blocks in the pool" }
            @if self.size.shares {
                text.name text-anchor="middle" x=(px(middle)) y="12" { "% of the distinct blocks" }
                @for (x, share) in self.shares() {
                    line.axis x1=(px(x)) x2=(px(x)) y1=(px(self.top - 5.0)) y2=(px(self.top)) {}
                    text.tick text-anchor="middle" x=(px(x)) y=(px(self.top - 9.0)) { (share_tick(share)) }
                }
                line.axis x1=(px(LEFT)) x2=(px(right)) y1=(px(self.top)) y2=(px(self.top)) {}
            }
        }
    }

    /// Returns the marks of the second axis: their positions and percentages.
    fn shares(&self) -> Vec<(f64, f64)> {
        let one_percent = self.chart.distinct_blocks as f64 / 100.0;
        let Scale::Log { low, high } = self.chart.x else {
            return Vec::new();
        };
        let shares = Scale::Log {
            low: low / one_percent,
            high: high / one_percent,
        };
        let place = |share| (self.x(share * one_percent), share);
        let ticks = shares.ticks(self.size.x_ticks);
        ticks.into_iter().map(place).collect()
    }

    /// Draws an invisible column per pool size, whose tooltip lists the values of all curves.
    fn columns(&self) -> Markup {
        let sizes = self.chart.sizes();
        let centers: Vec<f64> = sizes.iter().map(|&blocks| self.x(blocks as f64)).collect();
        let border = |left: usize| match (left.checked_sub(1), centers.get(left)) {
            (Some(before), Some(center)) => (centers[before] + center) / 2.0,
            (None, _) => LEFT,
            (_, None) => self.right(),
        };
        html! {
            @for (index, &blocks) in sizes.iter().enumerate() {
                @let (from, to) = (border(index), border(index + 1));
                g.column {
                    title { (self.values_at(blocks)) }
                    rect x=(px(from)) y=(px(self.top)) width=(px(to - from)) height=(px(self.bottom() - self.top)) {}
                    line x1=(px(centers[index])) x2=(px(centers[index])) y1=(px(self.top)) y2=(px(self.bottom())) {}
                }
            }
        }
    }

    fn values_at(&self, blocks: usize) -> String {
        let has_size = |point: &&Point| point.blocks == blocks;
        let mut text = self.chart.pool(blocks);
        let mut add = |name: &str, point: &Point| {
            text.push_str(&format!("\n{name}: {}", (self.chart.value)(point.value)));
        };
        if let Some(point) = self.chart.optimum.iter().find(has_size) {
            add("optimum", point);
        }
        for curve in &self.chart.curves {
            if let Some(point) = curve.points.iter().find(has_size) {
                add(curve.policy.name(), point);
            }
        }
        text
    }

    fn optimum(&self) -> Markup {
        let optimum = &self.chart.optimum;
        let best = optimum.iter().rev().map(|point| Point {
            blocks: point.blocks,
            value: self.chart.best_at(point.blocks).unwrap_or(point.value),
        });
        let band: Vec<Point> = optimum.iter().copied().chain(best).collect();
        html! {
            @if !optimum.is_empty() {
                path.band d=(format!("{}Z", self.path(&band))) {}
                path.line.optimum d=(self.path(optimum)) {}
                @for point in optimum {
                    @let (x, y) = self.at(point);
                    circle.dot.optimum cx=(px(x)) cy=(px(y)) r="2.6" {
                        title { (self.name("optimum", point)) }
                    }
                }
            }
        }
    }

    fn curve(&self, curve: &Curve) -> Markup {
        let name = curve.policy.name();
        html! {
            g class=(name) {
                path.line d=(self.path(&curve.points)) {}
                @for point in &curve.points {
                    path.marker d=(look(curve.policy).marker(self.at(point))) {
                        title { (self.name(name, point)) }
                    }
                }
            }
        }
    }

    fn name(&self, name: &str, point: &Point) -> String {
        format!(
            "{name}: {}\n{}",
            (self.chart.value)(point.value),
            self.chart.pool(point.blocks)
        )
    }

    fn path(&self, points: &[Point]) -> String {
        let mut path = String::new();
        for (index, point) in points.iter().enumerate() {
            let (x, y) = self.at(point);
            let step = if index == 0 { 'M' } else { 'L' };
            path.push_str(&format!("{step}{} {}", px(x), px(y)));
        }
        path
    }
}

/// Draws a piece of a curve for the legend.
pub fn sample(policy: Policy) -> Markup {
    html! {
        svg viewBox="0 0 34 14" class=(policy.name()) aria-hidden="true" {
            path.line d="M1 7L33 7" {}
            path.marker d=(look(policy).marker((17.0, 7.0))) {}
        }
    }
}

/// Draws the optimum and the band below it for the legend.
pub fn sample_optimum() -> Markup {
    html! {
        svg viewBox="0 0 34 14" aria-hidden="true" {
            path.band d="M1 3L33 3L33 14L1 14Z" {}
            path.line.optimum d="M1 3L33 3" {}
        }
    }
}

/// Formats a coordinate, rounded to a tenth.
fn px(x: f64) -> String {
    format!("{x:.1}")
}

/// Formats a round number of blocks.
fn short(blocks: f64) -> String {
    match blocks {
        n if n >= 1e6 => format!("{}M", n / 1e6),
        n if n >= 1e3 => format!("{}k", n / 1e3),
        n => format!("{n}"),
    }
}

/// Formats a percentage of the distinct blocks.
fn share_tick(percent: f64) -> String {
    let decimals = match percent {
        p if p < 0.095 => 2,
        p if p < 9.95 => 1,
        _ => 0,
    };
    format!("{}%", without_zeros(percent, decimals))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::named;

    #[test]
    fn labels_are_short() {
        assert_eq!(short(500.0), "500");
        assert_eq!(short(2000.0), "2k");
        assert_eq!(short(5e6), "5M");
        assert_eq!(share_tick(0.03), "0.03%");
        assert_eq!(share_tick(0.5), "0.5%");
        assert_eq!(share_tick(20.0), "20%");
        assert_eq!(share_tick(100.0), "100%");
    }

    #[test]
    fn values_stand_where_the_scales_say() {
        let points = |values: [f64; 2]| {
            let point = |(blocks, value)| Point { blocks, value };
            [(10, values[0]), (1000, values[1])].map(point).to_vec()
        };
        let chart = Chart {
            title: "t",
            x: Scale::Log {
                low: 1.0,
                high: 1e4,
            },
            y: Scale::Linear { high: 1.0 },
            tick: |value| value.to_string(),
            value: |value| value.to_string(),
            curves: vec![Curve {
                policy: named("lru"),
                points: points([0.0, 0.5]),
            }],
            optimum: points([0.5, 1.0]),
            distinct_blocks: 1000,
        };
        let svg = chart.draw(Size::SMALL).into_string();
        let quarter = (Size::SMALL.width - LEFT - RIGHT) / 4.0;
        let (first, second) = (px(LEFT + quarter), px(LEFT + 3.0 * quarter));
        let bottom = Size::SMALL.height - BOTTOM;
        let (bottom, middle, top) = (px(bottom), px((bottom + 12.0) / 2.0), px(12.0));
        let curve = format!("M{first} {bottom}L{second} {middle}");
        assert!(svg.contains(&format!("d=\"{curve}\"")), "{svg}");
        let band = format!("M{first} {middle}L{second} {top}L{second} {middle}L{first} {bottom}Z");
        assert!(svg.contains(&format!("d=\"{band}\"")), "{svg}");
        assert!(
            svg.contains("10 blocks, 1% of the distinct blocks\noptimum: 0.5\nlru: 0<"),
            "{svg}"
        );
    }
}
