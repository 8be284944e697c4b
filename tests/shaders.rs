//! Every shader validates without optional capabilities and translates to SPIR-V, MSL and HLSL;
//! its parameters are what the host sends; tint accepts it where it is installed.

use std::process::Command;

use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use tensorpress::gpu::{Kernel, expand, sources};
use tensorpress::ops::linear::{Launch, launches};

/// The kernels: everything but the fragments.
fn kernels() -> impl Iterator<Item = (&'static str, String)> {
    sources()
        .iter()
        .filter(|(path, _)| !path.starts_with("common/"))
        .map(|(path, _)| (*path, expand(path).expect("expands")))
}

fn parse(path: &str, text: &str) -> naga::Module {
    naga::front::wgsl::parse_str(text)
        .unwrap_or_else(|e| panic!("{}", e.emit_to_string_with_path(text, path)))
}

#[test]
fn every_shader_translates_to_every_language() {
    for (path, text) in kernels() {
        let module = parse(path, &text);
        let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
            .validate(&module)
            .unwrap_or_else(|e| panic!("{path}: {e:?}"));
        assert!(!module.entry_points.is_empty(), "{path} has no entry point");
        let has =
            |name: &str| module.overrides.iter().any(|(_, o)| o.name.as_deref() == Some(name));
        let values: &[f64] = if has("DTYPE") { &[0.0, 1.0, 2.0] } else { &[0.0] };
        for dtype in values {
            let constants: &[_] = if has("DTYPE") { &[("DTYPE", *dtype)] } else { &[] };
            let (module, info) = with_constants(path, &module, &info, None, constants);
            translate(path, &module, &info);
        }
    }
    for launch in launches() {
        let (module, info) = launched(&launch);
        translate(launch.file, &module, &info);
    }
}

/// The module with values for its `override` constants, all of it or one entry point.
fn with_constants(
    path: &str,
    module: &naga::Module,
    info: &ModuleInfo,
    entry: Option<&str>,
    constants: &[(&str, f64)],
) -> (naga::Module, ModuleInfo) {
    let constants = constants.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    let entry = entry.map(|entry| (naga::ShaderStage::Compute, entry));
    let (module, info) =
        naga::back::pipeline_constants::process_overrides(module, info, entry, &constants)
            .unwrap_or_else(|e| panic!("{path}: {e:?}"));
    (module.into_owned(), info.into_owned())
}

/// The kernel of a layer in one of its cuts.
fn launched(launch: &Launch) -> (naga::Module, ModuleInfo) {
    let module = parse(launch.file, &expand(launch.file).expect("expands"));
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
        .validate(&module)
        .unwrap_or_else(|e| panic!("{}: {e:?}", launch.file));
    with_constants(launch.file, &module, &info, Some(launch.entry), &launch.constants)
}

fn translate(path: &str, module: &naga::Module, info: &ModuleInfo) {
    use naga::back::{hlsl, msl, spv};
    let words = spv::write_vec(
        module,
        info,
        &spv::Options { lang_version: (1, 3), ..Default::default() },
        None,
    )
    .unwrap_or_else(|e| panic!("{path} to SPIR-V: {e:?}"));
    assert_eq!(words[0], 0x0723_0203);
    let options =
        msl::Options { lang_version: (2, 4), fake_missing_bindings: true, ..Default::default() };
    let (text, _) = msl::write_string(module, info, &options, &msl::PipelineOptions::default())
        .unwrap_or_else(|e| panic!("{path} to MSL: {e:?}"));
    assert!(text.contains("kernel void"), "{path}: no MSL kernel");
    for shader_model in [hlsl::ShaderModel::V5_1, hlsl::ShaderModel::V6_6] {
        let options =
            hlsl::Options { shader_model, fake_missing_bindings: true, ..Default::default() };
        let mut text = String::new();
        hlsl::Writer::new(&mut text, &options, &hlsl::PipelineOptions::default())
            .write(module, info, None)
            .unwrap_or_else(|e| panic!("{path} to HLSL: {e:?}"));
        assert!(text.contains("numthreads"), "{path}: no HLSL kernel");
    }
}

#[test]
fn params_are_words_in_the_order_that_the_host_sends() {
    let mut seen = 0;
    for (path, text) in kernels() {
        let module = parse(path, &text);
        let Some((_, params)) =
            module.types.iter().find(|(_, ty)| ty.name.as_deref() == Some("Params"))
        else {
            continue;
        };
        let naga::TypeInner::Struct { members, .. } = &params.inner else {
            panic!("{path}: Params is no struct");
        };
        let kernel = Kernel { file: path, entry: "", constants: &[], estimates: false };
        let names: Vec<_> = members.iter().map(|m| m.name.clone().unwrap_or_default()).collect();
        assert_eq!(kernel.param_names(), names, "{path}");
        for (index, member) in members.iter().enumerate() {
            assert_eq!(member.offset as usize, index * 4, "{path}: {:?}", member.name);
            let size = module.types[member.ty].inner.size(module.to_ctx());
            assert_eq!(size, 4, "{path}: {:?}", member.name);
        }
        seen += 1;
    }
    assert!(seen >= 9, "only {seen} shaders have Params");
}

/// Invocations and workgroup memory of each entry point.
fn sizes(module: &naga::Module) -> Vec<(u32, u32)> {
    let memory = module
        .global_variables
        .iter()
        .filter(|(_, v)| v.space == naga::AddressSpace::WorkGroup)
        .map(|(_, v)| module.types[v.ty].inner.size(module.to_ctx()))
        .sum();
    module.entry_points.iter().map(|e| (e.workgroup_size.iter().product(), memory)).collect()
}

#[test]
fn workgroups_fit_webgpus_default_limits() {
    let fit = |path: &str, (invocations, memory): (u32, u32)| {
        assert!(memory <= 16 << 10, "{path}: {memory} bytes of workgroup memory");
        assert!(invocations <= 256, "{path}: {invocations} invocations");
    };
    let layers = launches();
    for (path, text) in kernels().filter(|(path, _)| layers.iter().all(|l| l.file != *path)) {
        sizes(&parse(path, &text)).into_iter().for_each(|size| fit(path, size));
    }
    // What the host holds against a device's limits is what the shader takes.
    for launch in layers {
        let (module, _) = launched(&launch);
        let size = (launch.invocations, launch.workgroup_bytes);
        assert_eq!(sizes(&module), [size], "{launch:?}");
        fit(launch.file, size);
    }
}

#[test]
fn tint_accepts_every_shader() {
    if Command::new("tint").arg("--version").output().is_err() {
        println!("skipped: tint is not installed");
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (path, text) in kernels() {
        let file = folder.path().join(path.replace('/', "_"));
        std::fs::write(&file, text).expect("written");
        let output =
            Command::new("tint").args(["--format", "wgsl"]).arg(&file).output().expect("tint runs");
        assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
