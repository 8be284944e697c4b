use super::labels::{Area, Labels};
use super::*;

fn axis(logarithmic: bool, range: (f64, f64)) -> Axis {
    Axis { name: "size <&>".into(), logarithmic, range, tick: |value| format!("{value}") }
}

fn chart(points: Vec<Point>) -> Chart {
    let series =
        Series { name: "one".into(), color: Color::Blue, marker: Marker::Ring, line: true, points };
    Chart {
        title: "A \"title\"".into(),
        subtitle: String::new(),
        x: axis(true, (10.0, 1000.0)),
        y: axis(false, (0.5, 1.0)),
        series: vec![series],
        reference: Some((0.9, "dense".into())),
    }
}

fn point(x: f64, y: f64, label: &str) -> Point {
    Point { x, y, label: label.into(), strong: true }
}

#[test]
fn ticks_are_easy_to_read() {
    let close = |found: Vec<f64>, expected: &[f64]| {
        assert_eq!(found.len(), expected.len(), "{found:?}");
        assert!(
            found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9 * b.abs().max(1.0)),
            "{found:?}"
        );
    };
    close(axis(true, (24.0, 350.0)).ticks(9), &[50.0, 100.0, 200.0]);
    close(axis(true, (1.0, 100.0)).ticks(9), &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
    close(axis(false, (61.5, 90.0)).ticks(8), &[65.0, 70.0, 75.0, 80.0, 85.0, 90.0]);
    close(axis(false, (0.0, 10.0)).ticks(8), &[0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
    close(axis(false, (97.52, 97.98)).ticks(8), &[97.6, 97.7, 97.8, 97.9]);
    close(axis(true, (61.0, 89.0)).ticks(9), &[65.0, 70.0, 75.0, 80.0, 85.0]);
    // Six decades have every step, and no axis has none.
    assert_eq!(axis(true, (1.0, 1e6)).ticks(9).len(), 7);
    assert!(!axis(false, (0.0, 1e-7)).ticks(8).is_empty());
}

#[test]
fn a_chart_is_the_same_document_every_time() {
    let points =
        || vec![point(20.0, 0.7, "a"), point(200.0, 0.3, "b & c"), point(900.0, 0.95, "d")];
    let svg = draw::svg(&chart(points())).expect("drawn");
    assert_eq!(svg, draw::svg(&chart(points())).expect("drawn"));
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
    assert!(svg.contains("size &lt;&amp;&gt;") && svg.contains("b &amp; c"), "{svg}");
    for text in ["A &quot;title&quot;", "one", "dense", ">\na\n<"] {
        assert!(svg.contains(text), "{text} is not in {svg}");
    }
    // Dark pages get their own colors, and only those that are drawn with are replaced.
    assert!(svg.contains("prefers-color-scheme:dark"));
    let style = &svg[..svg.find("</style>").expect("a style")];
    let colors = svg[style.len()..].split("#").skip(1).map(|rest| &rest[..6]);
    for color in colors {
        assert!(style.contains(&format!("\"#{color}\"")), "{color} stays as it is on black");
    }
    // Nothing is drawn outside, though one point is below the axis.
    for y in svg.split("cy=\"").skip(1).map(|rest| rest.split('"').next().expect("a number")) {
        assert!((0..560).contains(&y.parse::<i32>().expect("a number")));
    }
}

#[test]
fn charts_of_few_points_are_drawn() {
    for points in [vec![], vec![point(100.0, 0.9, "only")], vec![point(100.0, 0.2, ""); 3]] {
        let svg = draw::svg(&chart(points)).expect("drawn");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}

#[test]
fn labels_hide_nothing_where_there_is_room() {
    let inside = Area { left: 0, top: 0, right: 400, bottom: 300 };
    let at = [(200, 150), (205, 152), (200, 156), (395, 5), (2, 298)];
    let mut labels = Labels::new(inside, at.map(|at| Area::around(at, 4)).to_vec());
    let placed: Vec<Area> =
        at.iter().map(|at| labels.place(*at, (60, 12), false).expect("room")).collect();
    for (number, area) in placed.iter().enumerate() {
        assert!(area.left >= 0 && area.right <= 400 && area.top >= 0 && area.bottom <= 300);
        assert!(placed[..number].iter().all(|other| area.overlap(other) == 0), "{placed:?}");
        assert!(at.iter().all(|at| area.overlap(&Area::around(*at, 4)) == 0), "{placed:?}");
    }
    // Where there is none, only those that must be shown are.
    let mut full = Labels::new(inside, vec![inside]);
    assert_eq!(full.place((200, 150), (60, 12), false), None);
    assert!(full.place((200, 150), (60, 12), true).is_some());
}

#[test]
fn plots_are_svg_files() {
    assert_eq!(file_name("a/b.svg"), Ok(PathBuf::from("a/b.svg")));
    for name in ["b.png", "svg", "b.SVGZ", ""] {
        assert!(file_name(name).expect_err(name).contains(".svg was expected"));
    }
}
