//! Any bytes as a wg-quick file: an error for each mistake, or a file that reads the same after it was
//! written out again.

use wireguard::parse_wg_quick;

/// See the head of this file.
pub fn wg_quick(bytes: &[u8]) {
    match parse_wg_quick(bytes, None) {
        Err(errors) => assert!(errors.lines().next().is_some(), "refused without a reason"),
        Ok(file) => {
            let again = file.tunnel.expose_wg_quick();
            let read = parse_wg_quick(again.as_bytes(), None).expect("our own output is refused");
            assert_eq!(read.tunnel.expose_wg_quick(), again);
        }
    }
}
