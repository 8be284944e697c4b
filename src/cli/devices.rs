//! `tensorpress devices`: the adapters there are, and which one `auto` takes.

use serde_json::{Value, json};

use super::{Common, output};
use crate::error::Result;
use crate::gpu::{self, AdapterDescription, DeviceChoice, GpuOptions};
use crate::ops::Backend;

/// List the adapters with backend, driver, limits and features
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tensorpress devices
  WGPU_BACKEND=gl tensorpress devices        ask OpenGL drivers instead
  tensorpress compress MODEL -o OUT --device gpu:0")]
pub(super) struct Arguments {}

pub(super) fn run(_arguments: &Arguments, common: &Common) -> Result<()> {
    let adapters = gpu::list();
    // A choice of the environment that cannot be met is told, not obeyed: this is where to look.
    let auto = Backend::open(&DeviceChoice::Auto, GpuOptions::default());
    let auto = auto.map(|backend| backend.name().to_owned());
    if common.json {
        output::json(&as_json(&adapters, &auto))
    } else {
        output::print(&as_text(&adapters, &auto))
    }
}

fn kind(adapter: &AdapterDescription) -> &'static str {
    match adapter.info.device_type {
        _ if adapter.software => "software",
        wgpu::DeviceType::DiscreteGpu => "discrete",
        wgpu::DeviceType::IntegratedGpu => "integrated",
        wgpu::DeviceType::VirtualGpu => "virtual",
        wgpu::DeviceType::Other | wgpu::DeviceType::Cpu => "other",
    }
}

/// The optional features that kernels may come to use.
fn features(adapter: &AdapterDescription) -> Vec<String> {
    use wgpu::Features as F;
    let known =
        F::TIMESTAMP_QUERY | F::SUBGROUP | F::SHADER_F16 | F::EXPERIMENTAL_COOPERATIVE_MATRIX;
    (adapter.features & known).iter_names().map(|(name, _)| name.to_lowercase()).collect()
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

fn as_text(adapters: &[AdapterDescription], auto: &Result<String>) -> String {
    let mut rows = vec![["cpu", "CPU backend", "", "", "", "", ""].map(str::to_owned).to_vec()];
    for (index, adapter) in adapters.iter().enumerate() {
        let info = &adapter.info;
        rows.push(vec![
            format!("gpu:{index}"),
            info.name.clone(),
            kind(adapter).to_owned(),
            format!("{:?}", info.backend),
            format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            mib(adapter.limits.max_storage_buffer_binding_size).to_string(),
            features(adapter).join(" "),
        ]);
    }
    let header = ["device", "name", "kind", "backend", "driver", "binding MiB", "features"];
    let table = output::table(&header, header.len(), rows);
    let auto = match auto {
        Ok(name) => format!("auto takes: {name}"),
        Err(error) => format!("auto takes nothing: {error}"),
    };
    let mut text = format!("{table}\n{auto}\n");
    let asked = std::env::var("WGPU_BACKEND").ok().filter(|names| !names.is_empty());
    if let Some(names) = asked.filter(|_| adapters.is_empty()) {
        text += &format!(
            "No adapter found with WGPU_BACKEND={}; without it Vulkan, Metal and DX12 are asked.\n",
            output::plain(&names)
        );
    } else if adapters.is_empty() {
        text.push_str(
            "No adapter found: the CPU backend does all the work. For a GPU, install its Vulkan \
             driver (Metal and DX12 come with the system).\n",
        );
    } else if adapters.iter().all(|a| a.software) {
        text.push_str(
            "Only software adapters: --device gpu uses one to check shaders; the CPU backend is \
             much faster.\n",
        );
    }
    text
}

fn as_json(adapters: &[AdapterDescription], auto: &Result<String>) -> Value {
    let adapters: Vec<Value> = adapters
        .iter()
        .enumerate()
        .map(|(index, adapter)| {
            let (info, limits) = (&adapter.info, &adapter.limits);
            json!({
                "device": format!("gpu:{index}"),
                "name": info.name,
                "kind": kind(adapter),
                "backend": format!("{:?}", info.backend).to_lowercase(),
                "driver": info.driver,
                "driver_info": info.driver_info,
                "vendor_id": info.vendor,
                "device_id": info.device,
                "pci_bus_id": info.device_pci_bus_id,
                "limits": {
                    "max_storage_buffer_binding_size": limits.max_storage_buffer_binding_size,
                    "max_buffer_size": limits.max_buffer_size,
                    "max_compute_workgroup_storage_size": limits.max_compute_workgroup_storage_size,
                    "max_compute_invocations_per_workgroup":
                        limits.max_compute_invocations_per_workgroup,
                    "max_compute_workgroups_per_dimension":
                        limits.max_compute_workgroups_per_dimension,
                },
                "features": features(adapter),
            })
        })
        .collect();
    json!({ "schema_version": 1, "adapters": adapters, "auto": auto.as_ref().ok() })
}
