//! A page: a title, panels side by side, and one legend for all of them. This module defines how
//! everything looks; what is drawn comes from the data.

use std::error::Error;
use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::data::{Policy, Side, folder};

const SIZE: (u32, u32) = (1200, 600);
const HEADER: u32 = 88;
const LEGEND: u32 = 52;
/// The distance from the edge of the page to the titles, in pixels.
const MARGIN: i32 = 24;
const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(31, 35, 40);
const FAINT_INK: RGBColor = RGBColor(89, 99, 110);
const GRID: RGBColor = RGBColor(222, 226, 230);
const STROKE: u32 = 3;
const DASH: u32 = 9;
const GAP: u32 = 5;
const MARKER: i32 = 5;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub type Outcome = Result<(), Box<dyn Error>>;

pub struct Page {
    pub title: String,
    pub subtitle: String,
    pub panels: Vec<Panel>,
}

pub struct Panel {
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    pub curves: Vec<Curve>,
}

/// An evenly divided axis. `label` formats its numbers.
#[derive(Clone)]
pub struct Axis {
    pub name: &'static str,
    pub range: Range<f64>,
    pub ticks: Vec<f64>,
    pub label: fn(&f64) -> String,
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (first, last): (i32, i32)) -> i32 {
        let part = (value - self.range.start) / (self.range.end - self.range.start);
        first + (part * f64::from(last - first)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

pub struct Curve {
    pub line: Line,
    pub points: Vec<(f64, f64)>,
    pub markers: Vec<(f64, f64)>,
    /// Vertical bars behind the line, each from one point to another.
    pub bars: Vec<[(f64, f64); 2]>,
}

/// One crate with one policy. The colour shows the crate, a solid or dashed line the policy.
#[derive(Clone, Copy)]
pub struct Line {
    pub side: Side,
    pub policy: Policy,
}

impl Line {
    const ALL: [Self; 4] = [
        Self::new(Side::ThisCrate, Policy::Lru),
        Self::new(Side::ThisCrate, Policy::LineageTick),
        Self::new(Side::Reference, Policy::Lru),
        Self::new(Side::Reference, Policy::LineageTick),
    ];

    const fn new(side: Side, policy: Policy) -> Self {
        Self { side, policy }
    }

    fn color(self) -> RGBColor {
        match self.side {
            Side::ThisCrate => RGBColor(9, 105, 218),
            Side::Reference => RGBColor(212, 92, 8),
        }
    }

    fn style(self) -> ShapeStyle {
        self.color().stroke_width(STROKE)
    }

    fn is_dashed(self) -> bool {
        matches!(self.policy, Policy::LineageTick | Policy::LineageFifo)
    }

    /// Returns the fill of the markers, which are hollow on dashed lines.
    fn fill(self) -> ShapeStyle {
        match self.is_dashed() {
            false => self.color().filled(),
            true => WHITE.filled(),
        }
    }

    fn name(self) -> String {
        let side = match self.side {
            Side::ThisCrate => "kvbm-lockfree",
            Side::Reference => "kvbm-logical",
        };
        format!("{side}, {}", self.policy)
    }
}

impl Page {
    /// Draws the page into a file in the folder of the figures.
    pub fn draw(&self, name: &str) -> Outcome {
        let path = folder().join(name);
        let root = SVGBackend::new(&path, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let (header, below) = root.split_vertically(HEADER);
        let (panels, legend) = below.split_vertically(SIZE.1 - HEADER - LEGEND);
        header.draw(&Text::new(
            self.title.as_str(),
            (MARGIN, 18),
            (FONT, 27, FontStyle::Bold).into_font().color(&INK),
        ))?;
        header.draw(&Text::new(
            self.subtitle.as_str(),
            (MARGIN, 55),
            (FONT, 17).into_font().color(&FAINT_INK),
        ))?;
        let areas = panels.split_evenly((1, self.panels.len()));
        for (panel, area) in self.panels.iter().zip(&areas) {
            panel.draw(area)?;
        }
        for (line, area) in Line::ALL.into_iter().zip(legend.split_evenly((1, 4))) {
            draw_key(line, &area)?;
        }
        root.present()?;
        println!("written: {}", path.display());
        Ok(())
    }
}

impl Panel {
    fn draw(&self, area: &Area) -> Outcome {
        let mut chart = ChartBuilder::on(area)
            .caption(
                &self.title,
                (FONT, 20, FontStyle::Bold).into_font().color(&INK),
            )
            .margin_left(12)
            .margin_right(36)
            .x_label_area_size(52)
            .y_label_area_size(74)
            .build_cartesian_2d(self.x.clone(), self.y.clone())?;
        chart
            .configure_mesh()
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .axis_style(FAINT_INK)
            .label_style((FONT, 16).into_font().color(&INK))
            .axis_desc_style((FONT, 17).into_font().color(&INK))
            .x_desc(self.x.name)
            .y_desc(self.y.name)
            .x_label_formatter(&self.x.label)
            .y_label_formatter(&self.y.label)
            .draw()?;
        for Curve { line, bars, .. } in &self.curves {
            let style = line.color().mix(0.3).stroke_width(7);
            chart.draw_series(bars.iter().map(|&bar| PathElement::new(bar, style)))?;
        }
        for Curve { line, points, .. } in &self.curves {
            let points = points.clone();
            match line.is_dashed() {
                false => chart.draw_series(LineSeries::new(points, line.style()))?,
                true => {
                    chart.draw_series(DashedLineSeries::new(points, DASH, GAP, line.style()))?
                }
            };
        }
        for Curve { line, markers, .. } in &self.curves {
            for style in [line.fill(), line.style()] {
                chart.draw_series(markers.iter().map(|&at| Circle::new(at, MARKER, style)))?;
            }
        }
        Ok(())
    }
}

/// An entry of the legend.
fn draw_key(line: Line, area: &Area) -> Outcome {
    let middle = LEGEND as i32 / 2 - 4;
    let (start, end) = (MARGIN, MARGIN + 52);
    let points = [(start, middle), (end, middle)];
    match line.is_dashed() {
        false => area.draw(&PathElement::new(points, line.style()))?,
        true => area.draw(&DashedPathElement::new(points, DASH, GAP, line.style()))?,
    }
    for style in [line.fill(), line.style()] {
        area.draw(&Circle::new(((start + end) / 2, middle), MARKER, style))?;
    }
    area.draw(&Text::new(
        line.name(),
        (end + 10, middle),
        (FONT, 17)
            .into_font()
            .color(&INK)
            .pos(Pos::new(HPos::Left, VPos::Center)),
    ))?;
    Ok(())
}
