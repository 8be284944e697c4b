//! The command line; everything is in the library.

fn main() -> std::process::ExitCode {
    quiet_device_select();
    tensorpress::cli::main()
}

/// Mesa's layer that orders adapters asks a Wayland display, and where there is no session, as on
/// a server, libwayland prints "error: XDG_RUNTIME_DIR is invalid" for every instance. tensorpress
/// orders adapters itself, so without a session the layer is left out.
fn quiet_device_select() {
    let set = |name| std::env::var_os(name).is_some();
    let wanted = ["XDG_RUNTIME_DIR", "MESA_VK_DEVICE_SELECT", "DRI_PRIME", "NODEVICE_SELECT"];
    if cfg!(target_os = "linux") && !wanted.into_iter().any(set) {
        // SAFETY: no other thread exists yet that could read the environment.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}
