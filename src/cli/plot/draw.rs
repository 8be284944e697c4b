//! Drawing with plotters.

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::Color as _;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::labels::{Area, Labels};
use super::{Chart, Color, Marker, Point, Series};
use crate::error::{Error, Result};

/// Width and height, in pixels.
const SIZE: (u32, u32) = (880, 560);
/// Space around the plot.
const MARGIN: Area = Area { left: 76, top: 84, right: 24, bottom: 56 };
const FONT: &str = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif";

/// A color on white, and the one that takes its place on black.
struct Shade {
    light: RGBColor,
    dark: &'static str,
}

const PAPER: Shade = shade(0xff_ff_ff, "#0D1117");
const INK: Shade = shade(0x1f_23_28, "#E6EDF3");
const MUTED: Shade = shade(0x59_63_6e, "#9198A1");
const GRID: Shade = shade(0xe4_e8_ec, "#262C36");
const BLUE: Shade = shade(0x00_64_a8, "#5AB2F0");
const ORANGE: Shade = shade(0xb8_50_00, "#F0A050");
const GREEN: Shade = shade(0x00_7a_5a, "#45C99A");
const SHADES: [Shade; 7] = [PAPER, INK, MUTED, GRID, BLUE, ORANGE, GREEN];

const fn shade(rgb: u32, dark: &'static str) -> Shade {
    let light = RGBColor((rgb >> 16) as u8, (rgb >> 8) as u8, rgb as u8);
    Shade { light, dark }
}

impl Color {
    fn light(self) -> RGBColor {
        match self {
            Self::Grey => MUTED.light,
            Self::Blue => BLUE.light,
            Self::Orange => ORANGE.light,
            Self::Green => GREEN.light,
        }
    }
}

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The chart as an SVG document.
pub(super) fn svg(chart: &Chart) -> Result<String> {
    let mut svg = String::new();
    {
        let canvas = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        // Into memory, so that it cannot fail.
        draw(chart, &canvas).map_err(|_| Error::Bug { what: "a chart that cannot be drawn" })?;
    }
    Ok(with_dark_colors(&svg))
}

/// Lets a viewer that shows dark pages take the dark colors. A style goes before an attribute.
fn with_dark_colors(svg: &str) -> String {
    let rules: String = SHADES
        .iter()
        .map(|Shade { light: RGBColor(r, g, b), dark }| {
            let light = format!("#{r:02X}{g:02X}{b:02X}");
            format!("[fill=\"{light}\"]{{fill:{dark}}}[stroke=\"{light}\"]{{stroke:{dark}}}")
        })
        .collect();
    let style = format!("<style>@media(prefers-color-scheme:dark){{{rules}}}</style>\n");
    match svg.find(">\n") {
        Some(end) => format!("{}{style}{}", &svg[..end + 2], &svg[end + 2..]),
        None => svg.to_owned(),
    }
}

type Drawn = std::result::Result<(), DrawingAreaErrorKind<std::io::Error>>;

fn draw(chart: &Chart, canvas: &Canvas<'_>) -> Drawn {
    canvas.fill(&PAPER.light)?;
    let plot = Area {
        left: MARGIN.left,
        top: MARGIN.top,
        right: SIZE.0 as i32 - MARGIN.right,
        bottom: SIZE.1 as i32 - MARGIN.bottom,
    };
    heading(chart, canvas)?;
    axes(chart, canvas, &plot)?;
    let mut areas = vec![];
    if let Some((value, name)) = &chart.reference {
        let y = place(chart, &plot, chart.x.range.0, *value).1;
        dashes(canvas, (plot.left, y), plot.right, &MUTED.light)?;
        areas.push(Area { top: y - 1, bottom: y + 1, ..plot });
        let size = (width(name, 12), 14);
        areas.push(Area { bottom: y, top: y - size.1, right: plot.left + 6 + size.0, ..plot });
        write(canvas, name, (plot.left + 6, y - 4), 12, &MUTED.light, (HPos::Left, VPos::Bottom))?;
    }
    for series in chart.series.iter().filter(|series| series.line) {
        for pair in series.points.windows(2) {
            let Some([from, to]) = visible(chart, &plot, &pair[0], &pair[1]) else { continue };
            let style = series.color.light().mix(0.45).stroke_width(2);
            canvas.draw(&PathElement::new(vec![from, to], style))?;
            areas.extend(along(from, to));
        }
    }
    for series in &chart.series {
        for point in &series.points {
            let at = place(chart, &plot, point.x, point.y);
            let size = if point.strong { 6 } else { 4 };
            if point.y < chart.y.range.0 {
                arrow(canvas, at, series.color)?;
            } else {
                marker(canvas, at, series.marker, size, series.color)?;
            }
            areas.push(Area::around(at, size));
        }
    }
    labels(chart, canvas, &plot, areas)
}

/// Pixels of a point; what is below the axis is put on it.
fn place(chart: &Chart, plot: &Area, x: f64, y: f64) -> (i32, i32) {
    let right = f64::from(plot.right - plot.left) * chart.x.place(x);
    let up = f64::from(plot.bottom - plot.top) * chart.y.place(y.max(chart.y.range.0));
    (plot.left + right.round() as i32, plot.bottom - up.round() as i32)
}

/// The part of the line between two points that is not below the axis.
fn visible(chart: &Chart, plot: &Area, from: &Point, to: &Point) -> Option<[(i32, i32); 2]> {
    let lowest = chart.y.range.0;
    let end = |inner: &Point, outer: &Point| {
        if inner.y >= lowest {
            return Some(place(chart, plot, inner.x, inner.y));
        }
        // Where the line, straight on the page, crosses the axis.
        let share = (lowest - inner.y) / (outer.y - inner.y);
        let (first, last) =
            (place(chart, plot, inner.x, lowest), place(chart, plot, outer.x, lowest));
        let x = f64::from(first.0) + share * f64::from(last.0 - first.0);
        (outer.y > lowest).then_some((x.round() as i32, plot.bottom))
    };
    Some([end(from, to)?, end(to, from)?])
}

/// Small areas on a line.
fn along(from: (i32, i32), to: (i32, i32)) -> impl Iterator<Item = Area> {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let steps = (dx.abs().max(dy.abs()) / 6).max(1);
    (0..=steps).map(move |i| Area::around((from.0 + dx * i / steps, from.1 + dy * i / steps), 2))
}

/// Title, subtitle and legend.
fn heading(chart: &Chart, canvas: &Canvas<'_>) -> Drawn {
    let left = (HPos::Left, VPos::Center);
    write(canvas, &chart.title, (16, 22), 16, &INK.light, left)?;
    write(canvas, &chart.subtitle, (16, 42), 12, &MUTED.light, left)?;
    let mut x = MARGIN.left;
    for series in chart.series.iter().filter(|series| !series.name.is_empty()) {
        marker(canvas, (x, 66), series.marker, 5, series.color)?;
        write(canvas, &series.name, (x + 11, 66), 12, &INK.light, left)?;
        x += 11 + width(&series.name, 12) + 22;
    }
    Ok(())
}

fn axes(chart: &Chart, canvas: &Canvas<'_>, plot: &Area) -> Drawn {
    let line = |from, to, shade: &Shade| {
        canvas.draw(&PathElement::new(vec![from, to], shade.light.stroke_width(1)))
    };
    for tick in chart.x.ticks(9) {
        let x = place(chart, plot, tick, 0.0).0;
        line((x, plot.top), (x, plot.bottom), &GRID)?;
        let text = (chart.x.tick)(tick);
        let below = (x, plot.bottom + 16);
        write(canvas, &text, below, 12, &MUTED.light, (HPos::Center, VPos::Center))?;
    }
    for tick in chart.y.ticks(8) {
        let y = place(chart, plot, chart.x.range.0, tick).1;
        line((plot.left, y), (plot.right, y), &GRID)?;
        let text = (chart.y.tick)(tick);
        let beside = (plot.left - 8, y);
        write(canvas, &text, beside, 12, &MUTED.light, (HPos::Right, VPos::Center))?;
    }
    line((plot.left, plot.bottom), (plot.right, plot.bottom), &MUTED)?;
    line((plot.left, plot.top), (plot.left, plot.bottom), &MUTED)?;
    let middle = ((plot.left + plot.right) / 2, SIZE.1 as i32 - 16);
    write(canvas, &chart.x.name, middle, 13, &INK.light, (HPos::Center, VPos::Center))?;
    let style = (FONT, 13).into_font().transform(FontTransform::Rotate270).color(&INK.light);
    let style = style.pos(Pos::new(HPos::Center, VPos::Center));
    canvas.draw_text(&chart.y.name, &style, (20, (plot.top + plot.bottom) / 2))
}

/// Labels of the points; those that matter most choose first.
fn labels(chart: &Chart, canvas: &Canvas<'_>, plot: &Area, areas: Vec<Area>) -> Drawn {
    let mut labels = Labels::new(*plot, areas);
    let all = chart.series.iter().flat_map(|s| s.points.iter().map(move |point| (s, point)));
    let mut all: Vec<(&Series, &Point)> = all.filter(|(_, p)| !p.label.is_empty()).collect();
    all.sort_by_key(|(_, point)| !point.strong);
    for (series, point) in all {
        let at = place(chart, plot, point.x, point.y);
        let size = if point.strong { 12 } else { 11 };
        let space = (width(&point.label, size) + 2, size as i32 + 2);
        let Some(area) = labels.place(at, space, point.strong) else { continue };
        let middle = ((area.left + area.right) / 2, (area.top + area.bottom) / 2);
        if let Some(end) = leader(at, &area) {
            let style = series.color.light().mix(0.5).stroke_width(1);
            canvas.draw(&PathElement::new(vec![at, end], style))?;
        }
        let color = if point.strong { INK.light } else { series.color.light() };
        write(canvas, &point.label, middle, size, &color, (HPos::Center, VPos::Center))?;
    }
    Ok(())
}

/// Where a line from a point to a label that is not beside it ends.
fn leader(at: (i32, i32), area: &Area) -> Option<(i32, i32)> {
    let near = (at.0.clamp(area.left, area.right), at.1.clamp(area.top, area.bottom));
    let far = (near.0 - at.0).abs().max((near.1 - at.1).abs()) > 12;
    far.then_some(near)
}

fn marker(
    canvas: &Canvas<'_>,
    (x, y): (i32, i32),
    marker: Marker,
    size: i32,
    color: Color,
) -> Drawn {
    let fill = color.light().filled();
    let polygon = |points: &[(i32, i32)]| {
        let points = points.iter().map(|(dx, dy)| (x + dx, y + dy)).collect::<Vec<_>>();
        canvas.draw(&Polygon::new(points, fill))
    };
    match marker {
        Marker::Circle => canvas.draw(&Circle::new((x, y), size, fill)),
        Marker::Ring => {
            canvas.draw(&Circle::new((x, y), size, PAPER.light.filled()))?;
            canvas.draw(&Circle::new((x, y), size, color.light().stroke_width(2)))
        }
        Marker::Square => polygon(&[(-size, -size), (size, -size), (size, size), (-size, size)]),
        Marker::Diamond => {
            let far = size * 4 / 3;
            polygon(&[(-far, 0), (0, -far), (far, 0), (0, far)])
        }
        Marker::Triangle => polygon(&[(-size, size), (0, -size), (size, size)]),
    }
}

/// What lies below the axis.
fn arrow(canvas: &Canvas<'_>, (x, y): (i32, i32), color: Color) -> Drawn {
    let points = [(-4, -9), (4, -9), (0, -1)].map(|(dx, dy)| (x + dx, y + dy));
    canvas.draw(&Polygon::new(points.to_vec(), color.light().filled()))
}

fn dashes(canvas: &Canvas<'_>, from: (i32, i32), right: i32, color: &RGBColor) -> Drawn {
    for x in (from.0..right).step_by(8) {
        let line = vec![(x, from.1), ((x + 4).min(right), from.1)];
        canvas.draw(&PathElement::new(line, color.stroke_width(1)))?;
    }
    Ok(())
}

fn write(
    canvas: &Canvas<'_>,
    text: &str,
    at: (i32, i32),
    size: u32,
    color: &RGBColor,
    (horizontal, vertical): (HPos, VPos),
) -> Drawn {
    let style = (FONT, size).into_font().color(color).pos(Pos::new(horizontal, vertical));
    canvas.draw_text(text, &style, at)
}

/// About how wide a text is. The viewer chooses the font, so that nobody can know.
fn width(text: &str, size: u32) -> i32 {
    let tenths: u32 = text
        .chars()
        .map(|c| match c {
            'i' | 'j' | 'l' | '.' | ',' | ':' | '|' | '!' | ' ' | '(' | ')' => 3,
            'f' | 't' | 'r' => 4,
            'm' | 'w' | 'M' | 'W' | '%' | '≥' => 9,
            'A'..='Z' => 7,
            _ => 6,
        })
        .sum();
    (tenths * size).div_ceil(10) as i32
}
