//! Compute pipelines, created on first use and kept.

use std::fmt::Write as _;
use std::sync::Arc;

use super::context::{Gpu, lock};
use super::shader;
use crate::error::{DeviceError, Result};

/// A kernel: a shader file, an entry point and values for its `override` constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kernel<'a> {
    /// Path below `shaders/`, for example `"stats.wgsl"`.
    pub file: &'static str,
    /// Entry point.
    pub entry: &'static str,
    /// `override` constants; those that are not given keep the shader's value.
    pub constants: &'a [(&'static str, f64)],
    /// Whether the shader has the `PERTURB_ULP` constant.
    pub estimates: bool,
}

#[derive(Debug)]
pub(super) struct Pipeline {
    pub key: String,
    pub compute: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
}

impl Kernel<'_> {
    /// The cache key and debug label, for example `"stats/DTYPE=1"`.
    pub fn key(&self) -> String {
        let mut key = self.entry.to_owned();
        for (name, value) in self.constants {
            write!(key, "/{name}={value}").expect("writing to a string");
        }
        key
    }

    /// Names of the fields of the shader's `Params`, in order; all are 32 bits wide. A test holds
    /// this against naga's reading of the file.
    pub fn param_names(&self) -> Vec<String> {
        let source = shader::expand(self.file).unwrap_or_default();
        let fields = source.split("struct Params {").nth(1).and_then(|s| s.split('}').next());
        fields
            .unwrap_or_default()
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .filter_map(|line| line.split_once(':').map(|(name, _)| name.trim().to_owned()))
            .collect()
    }
}

impl Gpu {
    /// The pipeline of `kernel`, created where it does not exist yet.
    pub(super) fn pipeline(&self, kernel: &Kernel<'_>) -> Result<Arc<Pipeline>> {
        let key = kernel.key();
        // Held while creating: two threads must not compile the same shader.
        let mut pipelines = lock(&self.inner.pipelines);
        if let Some(pipeline) = pipelines.get(&key) {
            return Ok(Arc::clone(pipeline));
        }
        let source = shader::expand(kernel.file).map_err(|e| DeviceError::Validation {
            adapter: self.inner.label.clone(),
            doing: format!("reading {key}"),
            reason: e.to_string(),
        })?;
        let mut constants = kernel.constants.to_vec();
        if kernel.estimates {
            constants.push(("PERTURB_ULP", f64::from(self.inner.options.perturb_ulp)));
        }
        let compute = self.scoped(&format!("compiling {key}"), || {
            let module = self.module(&key, source);
            self.inner.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(&key),
                layout: None,
                module: &module,
                entry_point: Some(kernel.entry),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: &constants,
                    // Our kernels write workgroup memory before they read it.
                    zero_initialize_workgroup_memory: false,
                },
                cache: None,
            })
        })?;
        let layout = compute.get_bind_group_layout(0);
        let pipeline = Arc::new(Pipeline { key: key.clone(), compute, layout });
        pipelines.insert(key, Arc::clone(&pipeline));
        Ok(pipeline)
    }

    fn module(&self, key: &str, source: String) -> wgpu::ShaderModule {
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(key),
            source: wgpu::ShaderSource::Wgsl(source.into()),
        };
        if self.inner.options.checked {
            return self.inner.device.create_shader_module(descriptor);
        }
        // SAFETY: the shaders are this crate's own. Every index is guarded by counts that the
        // host derives from the sizes of the bound buffers, every loop has a bound, and divisors
        // are never zero; the test suite runs each kernel checked and unchecked.
        unsafe {
            self.inner
                .device
                .create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
        }
    }
}
