//! `link pair`: two wg-quick files and what to do with them. Asks no daemon.

use std::{
    fs::{self, DirBuilder},
    io::Write,
    os::unix::fs::DirBuilderExt,
    path::Path,
};

use crate::{args::PairArgs, failure::Failure};

/// Writes both files or none.
pub fn run(args: &PairArgs, out: &mut impl Write) -> Result<(), Failure> {
    let pair = wireguard::pair(args.endpoint.clone(), args.cloud_address, args.nas_address)
        .map_err(|e| Failure::Failed(e.to_string()))?;
    let folder = args.dir.display();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&args.dir)
        .map_err(|e| Failure::Failed(format!("{folder} cannot be made: {e} (name a folder of yours)")))?;
    let (cloud, nas) = (args.dir.join("cloud-wg0.conf"), args.dir.join("nas-wg0.conf"));
    let write = |path: &Path, end: &wireguard::TunnelConfig| {
        secret_file::write(path, &end.expose_wg_quick()).map_err(|e| Failure::Failed(e.to_string()))
    };
    write(&cloud, &pair.cloud)?;
    if let Err(failure) = write(&nas, &pair.nas) {
        // Ours, made a moment ago, and of no use without its other end.
        let _ = fs::remove_file(&cloud);
        return Err(failure);
    }
    let (port, endpoint) = (args.endpoint.port, &args.endpoint);
    let (cloud_ip, nas_ip) = (args.cloud_address.address, args.nas_address.address);
    write!(
        out,
        "Both files hold secret keys: move them, keep no copies, mode 0600, owned by the daemon's user.

{cloud}
  1. Put it into secrets/ beside cloud_storage.yaml in the cloud, as wg0.conf.
  2. In cloud_storage.yaml: link: {{config_file: \"secrets/wg0.conf\"}}
     and cold_storage_proxy.connection: method \"vpn\", vpn_endpoint with host {nas_ip}.
  3. Let UDP port {port} in: {endpoint} must reach this machine.

{nas}
  1. Put it into secrets/ beside local_storage.yaml on the NAS, as wg0.conf.
  2. In local_storage.yaml: link: {{config_file: \"secrets/wg0.conf\"}}
     and connection: cloud_endpoint with host {cloud_ip}.
  3. Nothing to open: the NAS dials the cloud.

Then restart both daemons.
",
        cloud = cloud.display(),
        nas = nas.display(),
    )?;
    Ok(out.flush()?)
}
