//! Where labels go so that they hide nothing.

/// A rectangle: left, top, right, bottom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Area {
    pub left: i32,
    pub top: i32,
    pub right: i32,
    pub bottom: i32,
}

impl Area {
    /// What both cover.
    pub(super) fn overlap(&self, other: &Self) -> i64 {
        let width = self.right.min(other.right) - self.left.max(other.left);
        let height = self.bottom.min(other.bottom) - self.top.max(other.top);
        i64::from(width.max(0)) * i64::from(height.max(0))
    }

    fn within(&self, other: &Self) -> bool {
        let (inside, outside) = ((self.left, self.top), (other.left, other.top));
        inside.0 >= outside.0
            && inside.1 >= outside.1
            && self.right <= other.right
            && self.bottom <= other.bottom
    }

    /// A square around a point.
    pub(super) fn around((x, y): (i32, i32), radius: i32) -> Self {
        Self { left: x - radius, top: y - radius, right: x + radius, bottom: y + radius }
    }
}

/// Places labels one after another.
pub(super) struct Labels {
    /// Where labels may be.
    inside: Area,
    /// What must not be hidden.
    taken: Vec<Area>,
}

/// Directions from a point, the preferred first, in quarters of a half turn.
const DIRECTIONS: [(i32, i32); 8] =
    [(1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (1, 1), (-1, -1), (-1, 1)];
/// Distances from a point.
const DISTANCES: [i32; 5] = [8, 16, 26, 38, 52];

impl Labels {
    pub(super) fn new(inside: Area, taken: Vec<Area>) -> Self {
        Self { inside, taken }
    }

    /// The place of a label of this size for the point at `at`: the nearest that hides nothing.
    /// Where there is none, it is the one that hides the least if the label `must` be shown.
    pub(super) fn place(&mut self, at: (i32, i32), size: (i32, i32), must: bool) -> Option<Area> {
        let mut best: Option<(i64, Area)> = None;
        for (distance, direction) in
            DISTANCES.into_iter().flat_map(|d| DIRECTIONS.map(|to| (d, to)))
        {
            let area = beside(at, size, distance, direction);
            if !area.within(&self.inside) {
                continue;
            }
            let hidden: i64 = self.taken.iter().map(|taken| area.overlap(taken)).sum();
            if best.is_none_or(|(least, _)| hidden < least) {
                best = Some((hidden, area));
            }
            if hidden == 0 {
                break;
            }
        }
        let (_, area) = best.filter(|(hidden, _)| must || *hidden == 0)?;
        self.taken.push(area);
        Some(area)
    }
}

/// The area of `size` at a distance of a point.
fn beside((x, y): (i32, i32), size: (i32, i32), distance: i32, to: (i32, i32)) -> Area {
    let (width, height) = size;
    // On a slant the corner is near, so that it may be nearer.
    let distance = if to.0 != 0 && to.1 != 0 { distance * 3 / 4 } else { distance };
    let left = match to.0 {
        1 => x + distance,
        -1 => x - distance - width,
        _ => x - width / 2,
    };
    let top = match to.1 {
        1 => y + distance,
        -1 => y - distance - height,
        _ => y - height / 2,
    };
    Area { left, top, right: left + width, bottom: top + height }
}
