//! Which adapters there are, and which one a request means.

use std::fmt;
use std::str::FromStr;

use wgpu::{Adapter, AdapterInfo, Backends, DeviceType};

use crate::error::{DeviceError, Result};

/// What the user asked for with `--device`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// A hardware GPU if there is one, else the CPU backend.
    #[default]
    Auto,
    /// The CPU backend.
    Cpu,
    /// The best adapter, software ones included.
    Gpu,
    /// The adapter at this place in [`list`].
    Index(usize),
    /// The first adapter whose name contains this, ignoring case.
    Name(String),
}

impl FromStr for DeviceChoice {
    type Err = std::convert::Infallible;

    /// Anything but a word of its own is a name: opening it tells what there is.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "auto" => Self::Auto,
            "cpu" => Self::Cpu,
            "gpu" => Self::Gpu,
            _ => {
                let name = text.strip_prefix("gpu:").unwrap_or(text);
                name.parse().map_or_else(|_| Self::Name(name.to_owned()), Self::Index)
            }
        })
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Gpu => f.write_str("gpu"),
            Self::Index(index) => write!(f, "gpu:{index}"),
            Self::Name(name) => write!(f, "gpu:{name}"),
        }
    }
}

/// An adapter as `tensorpress devices` shows it.
#[derive(Clone, Debug)]
pub struct AdapterDescription {
    /// wgpu's description: name, backend, driver, PCI ids.
    pub info: AdapterInfo,
    /// What the adapter allows.
    pub limits: wgpu::Limits,
    /// Optional features that it has.
    pub features: wgpu::Features,
    /// Whether it is emulated on the CPU.
    pub software: bool,
}

/// All adapters, best first: the order that `gpu:INDEX` counts in.
///
/// Vulkan, Metal and DX12 are asked; `WGPU_BACKEND` replaces that list (`gl` is only asked so).
pub fn list() -> Vec<AdapterDescription> {
    pollster::block_on(adapters())
        .iter()
        .map(|adapter| AdapterDescription {
            info: adapter.get_info(),
            limits: adapter.limits(),
            features: adapter.features(),
            software: is_software(&adapter.get_info()),
        })
        .collect()
}

pub(super) fn is_software(info: &AdapterInfo) -> bool {
    let name = info.name.to_lowercase();
    info.device_type == DeviceType::Cpu
        || ["llvmpipe", "softpipe", "swiftshader", "basic render"].iter().any(|n| name.contains(n))
}

/// "NVIDIA H100 (Vulkan, NVIDIA 580.1)": enough to tell adapters and drivers apart.
pub(super) fn label(info: &AdapterInfo) -> String {
    let driver = format!("{} {}", info.driver, info.driver_info);
    match driver.trim() {
        "" => format!("{} ({:?})", info.name, info.backend),
        driver => format!("{} ({:?}, {driver})", info.name, info.backend),
    }
}

fn rank(info: &AdapterInfo, low_power: bool) -> u32 {
    match info.device_type {
        _ if is_software(info) => 4,
        DeviceType::DiscreteGpu => u32::from(low_power),
        DeviceType::IntegratedGpu => u32::from(!low_power),
        DeviceType::VirtualGpu => 2,
        DeviceType::Other | DeviceType::Cpu => 3,
    }
}

async fn adapters() -> Vec<Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    // Set to nothing it names no backend, and does not ask for none.
    descriptor.backends = Backends::from_env()
        .filter(|_| std::env::var_os("WGPU_BACKEND").is_some_and(|names| !names.is_empty()))
        .unwrap_or(Backends::VULKAN | Backends::METAL | Backends::DX12);
    // Validation layers are for developers of drivers; wgpu's own validation is always on.
    descriptor.flags = wgpu::InstanceFlags::empty();
    descriptor.backend_options = wgpu::BackendOptions::from_env_or_default();
    let backends = descriptor.backends;
    let instance = wgpu::Instance::new(descriptor);
    let mut found = instance.enumerate_adapters(backends).await;
    found.retain(|a| a.get_info().backend != wgpu::Backend::Noop);
    let low_power = std::env::var("WGPU_POWER_PREF").is_ok_and(|v| v.eq_ignore_ascii_case("low"));
    found.sort_by_key(|a| rank(&a.get_info(), low_power));
    found
}

/// The adapter that `choice` means; `None` is the CPU backend.
pub(super) async fn choose(choice: &DeviceChoice) -> Result<Option<Adapter>> {
    if *choice == DeviceChoice::Cpu {
        return Ok(None);
    }
    let found = adapters().await;
    let names: Vec<String> = found.iter().map(|a| a.get_info().name).collect();
    let named = |part: &str| {
        let part = Some(part.to_lowercase()).filter(|part| !part.is_empty())?;
        names.iter().position(|name| name.to_lowercase().contains(&part))
    };
    let wanted = std::env::var("WGPU_ADAPTER_NAME").ok().filter(|name| !name.is_empty());
    let place = match (choice, &wanted) {
        (DeviceChoice::Index(index), _) => (*index < found.len()).then_some(*index),
        (DeviceChoice::Name(part), _) => named(part),
        (DeviceChoice::Auto | DeviceChoice::Gpu, Some(part)) => named(part),
        (DeviceChoice::Gpu, None) => (!found.is_empty()).then_some(0),
        (DeviceChoice::Auto | DeviceChoice::Cpu, None) | (DeviceChoice::Cpu, Some(_)) => {
            let hardware = found.iter().position(|a| {
                let info = a.get_info();
                !is_software(&info) && info.device_type != DeviceType::Other
            });
            if hardware.is_none() {
                return Ok(None);
            }
            hardware
        }
    };
    match place {
        Some(place) => Ok(found.into_iter().nth(place)),
        None => {
            let mut available = vec!["cpu".to_owned()];
            available.extend(names.iter().enumerate().map(|(i, name)| format!("gpu:{i} {name}")));
            let asked = match (choice, wanted) {
                (DeviceChoice::Auto | DeviceChoice::Gpu, Some(name)) => {
                    format!("{choice} with WGPU_ADAPTER_NAME={name}")
                }
                _ => choice.to_string(),
            };
            Err(DeviceError::NotFound { wanted: asked, available: available.join(", ") }.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_reads_as_it_prints() {
        for text in ["auto", "cpu", "gpu", "gpu:3", "gpu:llvmpipe"] {
            assert_eq!(text.parse::<DeviceChoice>().expect("known").to_string(), text);
        }
        let named = |name: &str| DeviceChoice::Name(name.to_owned());
        for (text, name) in [("", ""), ("cuda", "cuda"), ("gpu:", "")] {
            assert_eq!(text.parse(), Ok(named(name)), "{text}");
        }
    }
}
