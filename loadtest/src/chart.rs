//! Line charts as SVG files.

use std::ops::Range;
use std::path::Path;

use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

use crate::Anything;

/// Width and height of a chart, in pixels.
const SIZE: (u32, u32) = (840, 420);
/// Told apart by people who see few colours, and on white and black paper (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

/// One line of a chart.
pub struct Series {
    /// What the legend calls it.
    pub name: String,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
}

/// How an axis is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Evenly, from 0 on.
    Linear,
    /// By powers of ten.
    Logarithmic,
}

/// Writes a chart of these lines, with `x` and `y` beside its axes, and makes its directory.
///
/// Points that are not above 0 have no place on a logarithmic axis and are left out. Fails if there
/// is nothing to be drawn.
pub fn write(
    path: &Path,
    title: &str,
    x: &str,
    (y, upright): (&str, Axis),
    series: &[Series],
) -> Result<(), Anything> {
    let drawn = |point: &&(f64, f64)| upright == Axis::Linear || point.1 > 0.0;
    let points = || series.iter().flat_map(|line| line.points.iter().filter(drawn));
    let across = extent(points().map(|point| point.0))
        .ok_or_else(|| format!("`{}` has no points", path.display()))?;
    let up = extent(points().map(|point| point.1)).unwrap_or(0.0..1.0);
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let chart = Chart { path, title, x, y, across };
    match upright {
        Axis::Linear => chart.draw(0.0..up.end * 1.05, series, drawn),
        Axis::Logarithmic => {
            let tens = 10_f64.powf(up.start.log10().floor())..10_f64.powf(up.end.log10().ceil());
            chart.draw(tens.log_scale(), series, drawn)
        }
    }
}

/// From the least to the greatest, and a little further if they are the same.
fn extent(values: impl Iterator<Item = f64>) -> Option<Range<f64>> {
    let (least, greatest) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), of| {
        (least.min(of), most.max(of))
    });
    let greatest = if greatest > least { greatest } else { least + 1.0 };
    least.is_finite().then_some(least..greatest)
}

struct Chart<'a> {
    path: &'a Path,
    title: &'a str,
    x: &'a str,
    y: &'a str,
    across: Range<f64>,
}

impl Chart<'_> {
    fn draw<Y>(
        self,
        up: Y,
        series: &[Series],
        drawn: impl Fn(&&(f64, f64)) -> bool + Copy,
    ) -> Result<(), Anything>
    where
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let area = SVGBackend::new(self.path, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(72)
            .build_cartesian_2d(self.across, up)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc(self.x)
            .y_desc(self.y)
            .axis_desc_style(("sans-serif", 16))
            .label_style(("sans-serif", 14))
            .y_label_formatter(&|value| short(*value))
            .x_label_formatter(&|value| short(*value))
            .draw()?;
        for (line, colour) in series.iter().zip(COLOURS.iter().cycle()) {
            let points: Vec<(f64, f64)> = line.points.iter().filter(drawn).copied().collect();
            let style = colour.stroke_width(2);
            chart
                .draw_series(LineSeries::new(points.clone(), style))?
                .label(&line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
            chart.draw_series(points.into_iter().map(|at| Circle::new(at, 3, colour.filled())))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .label_font(("sans-serif", 14))
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        area.present()?;
        Ok(())
    }
}

/// A number as one says it beside an axis: `250`, `40k`, `1.5M`.
fn short(value: f64) -> String {
    let (value, unit) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, "G"),
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = format!("{value:.3}");
    format!("{}{unit}", digits.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_beside_an_axis_are_short() {
        let cases =
            [(0.0, "0"), (0.25, "0.25"), (100.0, "100"), (40_000.0, "40k"), (1.5e6, "1.5M")];
        for (value, expected) in cases {
            assert_eq!(short(value), expected);
        }
    }

    #[test]
    fn every_line_is_named_and_drawn_and_nothing_is_no_chart() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("new").join("chart.svg");
        let line = |name: &str, points: &[(f64, f64)]| Series {
            name: name.to_owned(),
            points: points.to_vec(),
        };
        let lines = [line("rising", &[(1.0, 0.0), (2.0, 10.0)]), line("one", &[(1.5, 3.0)])];
        for axis in [Axis::Linear, Axis::Logarithmic] {
            write(&path, "A title", "load", ("time", axis), &lines).unwrap();
            let drawn = std::fs::read_to_string(&path).unwrap();
            for text in ["A title", "load", "time", "rising", "one"] {
                assert!(drawn.contains(text), "no `{text}` in {drawn}");
            }
        }
        assert!(
            write(&path, "A title", "load", ("time", Axis::Linear), &[line("none", &[])]).is_err()
        );
    }
}
