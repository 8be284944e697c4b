// Dispatches fold into two dimensions because a dimension holds at most 65 535 workgroups; the
// host pads the fold, so every kernel guards its tail.
fn linear_workgroup(id: vec3<u32>, count: vec3<u32>) -> u32 {
    return id.y * count.x + id.x;
}
