/// Workgroups a dimension of a dispatch, at most; the same on every backend.
const MAX_PER_DIMENSION: u64 = 65_535;

/// How many workgroups a dispatch starts, folded into two dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Workgroups along x.
    pub x: u32,
    /// Workgroups along y.
    pub y: u32,
}

impl Grid {
    /// Enough workgroups for `items` at `per_workgroup` each; a shader finds its own with
    /// `linear_workgroup` and guards the tail. `None` where two dimensions cannot hold them.
    pub fn cover(items: u64, per_workgroup: u64) -> Option<Self> {
        let groups = items.div_ceil(per_workgroup);
        let y = groups.div_ceil(MAX_PER_DIMENSION).max(1);
        let x = groups.div_ceil(y);
        (y <= MAX_PER_DIMENSION).then(|| Self {
            x: u32::try_from(x).expect("at most 65535"),
            y: u32::try_from(y).expect("at most 65535"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fold_covers_every_item_with_little_waste() {
        for groups in [0, 1, 65_534, 65_535, 65_536, 131_071, 10_000_019, 65_535 * 65_535] {
            let grid = Grid::cover(groups * 256, 256).expect("fits");
            let started = u64::from(grid.x) * u64::from(grid.y);
            assert!(started >= groups && started < groups + u64::from(grid.y) + 1, "{groups}");
            assert!(u64::from(grid.x) <= MAX_PER_DIMENSION);
        }
        assert_eq!(Grid::cover(65_535 * 65_535 + 1, 1), None);
    }
}
