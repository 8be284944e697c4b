//! Every shader validates without optional capabilities and translates to SPIR-V, MSL and HLSL;
//! its parameters are what the host sends; tint accepts it where it is installed.

use std::process::Command;

use naga::valid::{Capabilities, ValidationFlags, Validator};
use tensorpress::gpu::{Kernel, expand, sources};

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
        let values: &[f64] = if module.overrides.is_empty() { &[0.0] } else { &[0.0, 1.0, 2.0] };
        for dtype in values {
            let mut constants = naga::back::PipelineConstants::default();
            if !module.overrides.is_empty() {
                constants.insert("DTYPE".to_owned(), *dtype);
            }
            let (module, info) =
                naga::back::pipeline_constants::process_overrides(&module, &info, None, &constants)
                    .unwrap_or_else(|e| panic!("{path}: {e:?}"));
            translate(path, &module, &info);
        }
    }
}

fn translate(path: &str, module: &naga::Module, info: &naga::valid::ModuleInfo) {
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

#[test]
fn workgroups_fit_webgpus_default_limits() {
    for (path, text) in kernels() {
        let module = parse(path, &text);
        let memory: u32 = module
            .global_variables
            .iter()
            .filter(|(_, v)| v.space == naga::AddressSpace::WorkGroup)
            .map(|(_, v)| module.types[v.ty].inner.size(module.to_ctx()))
            .sum();
        assert!(memory <= 16 << 10, "{path}: {memory} bytes of workgroup memory");
        for entry in &module.entry_points {
            let size: u32 = entry.workgroup_size.iter().product();
            assert!(size <= 256, "{path}: {size} invocations");
        }
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
