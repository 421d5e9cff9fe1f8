//! Our tunnel's ends against wireguard-go, an implementation nobody here wrote, and behind a NAT that
//! changes its address. Two network namespaces and a line between them; without the rights or the
//! tools for that, each test says so and passes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

use testbed::lab::{
    namespace::{self, Nat},
    pair::{Pair, Running},
    rekey,
};
use wireguard::PresharedKey;

const PORT: &str = "9000";

fn possible() -> bool {
    match namespace::available() {
        Ok(()) => true,
        Err(why) => {
            println!("SKIPPED: {why}");
            false
        }
    }
}

fn ready(mut end: Running) -> Running {
    assert_eq!(end.line().unwrap(), "ready");
    end
}

fn number(line: &str, key: &str) -> f64 {
    let value: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?}"));
    value[key].as_f64().unwrap()
}

/// Ours and wireguard-go's, each dialling and each dialled, each sending and each receiving, with a
/// preshared key.
fn meets_wireguard_go(mode: &str) {
    if !possible() {
        return;
    }
    for ours in [0, 1] {
        for sender in [0, 1] {
            let pair = Pair::create().unwrap();
            let dial = |at: usize| (at == 0).then(|| pair.straight());
            let _theirs = pair.wireguard_go(1 - ours, dial(1 - ours)).unwrap();
            let receiver = 1 - sender;
            let inner = |at: usize| format!("{}/24", pair.sides[at].inner);
            let to = format!("{}:{PORT}", pair.sides[receiver].inner);
            let run = |at: usize, arguments: &[&str]| {
                if at == ours {
                    let arguments = [arguments, &["--keepalive", "5"]].concat();
                    pair.tunnel_end(at, mode, dial(at), &arguments).unwrap()
                } else {
                    let own = inner(at);
                    let plain = ["--mode", "external", "--address", &own];
                    pair.end(at, &[&plain[..], arguments].concat()).unwrap()
                }
            };
            let _sink = ready(run(receiver, &["--serve", PORT]));
            let send = ["--send", &to, "--seconds", "3", "--connections", "4"];
            let sent = run(sender, &send).line().unwrap();
            assert!(number(&sent, "bytes") > 1e6, "ours at {ours}, {sender} sends: {sent}");
        }
    }
}

#[test]
fn tun_meets_wireguard_go() {
    meets_wireguard_go("tun");
}

#[test]
fn userspace_meets_wireguard_go() {
    meets_wireguard_go("userspace");
}

#[test]
fn another_preshared_key_makes_no_tunnel() {
    if !possible() {
        return;
    }
    let mut pair = Pair::create().unwrap();
    let _theirs = pair.wireguard_go(0, Some(pair.straight())).unwrap();
    pair.preshared = PresharedKey::generate();
    let _ours = ready(pair.tunnel_end(1, "userspace", None, &["--serve", PORT]).unwrap());
    let cloud = pair.sides[1].inner.to_string();
    assert!(pair.sides[0].namespace.run("ping", &["-c3", "-W1", &cloud]).is_err(), "an answer came");
    let shown = pair.sides[0].namespace.run("wg", &["show", "all", "latest-handshakes"]).unwrap();
    assert!(!shown.trim().is_empty() && shown.trim().ends_with("\t0"), "{shown}");
}

/// The cloud sends to a NAS whose router gets another address: only the NAS can mend that, and it is
/// the one that only listens.
fn outlives_a_new_address(mode: &str) {
    if !possible() {
        return;
    }
    let mut nat = Nat::create().unwrap();
    let pair = Pair::over(&nat).unwrap();
    let nas = pair.tunnel_end(0, mode, Some(pair.straight()), &["--serve", PORT, "--keepalive", "25"]);
    let _nas = ready(nas.unwrap());
    let to = format!("{}:{PORT}", pair.sides[0].inner);
    let mut cloud = pair.tunnel_end(1, mode, None, &["--send", &to, "--seconds", "24"]).unwrap();
    // Under way, then moved: what is measured is the longest time without a byte.
    std::thread::sleep(std::time::Duration::from_secs(7));
    nat.rebind().unwrap();
    let sent = cloud.line().unwrap();
    let stall = number(&sent, "longest_stall_s");
    assert!(stall < 15.0, "data stood still for {stall} s: {sent}");
    println!("{mode}: data stood still for {stall:.1} s");
}

/// The NAS gets another address of its own (another lease, another network card).
fn outlives_a_new_own_address(mode: &str) {
    if !possible() {
        return;
    }
    let mut nat = Nat::create().unwrap();
    let pair = Pair::over(&nat).unwrap();
    let to = format!("{}:{PORT}", pair.sides[1].inner);
    let _cloud = ready(pair.tunnel_end(1, mode, None, &["--serve", PORT]).unwrap());
    let mut nas =
        pair.tunnel_end(0, mode, Some(pair.straight()), &["--send", &to, "--seconds", "24"]).unwrap();
    // Under way, then moved, as above.
    std::thread::sleep(std::time::Duration::from_secs(5));
    nat.readdress().unwrap();
    let sent = nas.line().unwrap();
    let stall = number(&sent, "longest_stall_s");
    assert!(stall < 15.0, "data stood still for {stall} s: {sent}");
    println!("{mode}: data stood still for {stall:.1} s");
}

#[test]
fn tun_outlives_a_new_address_of_its_own() {
    outlives_a_new_own_address("tun");
}

#[test]
fn userspace_outlives_a_new_address_of_its_own() {
    outlives_a_new_own_address("userspace");
}

#[test]
fn tun_outlives_a_new_address() {
    outlives_a_new_address("tun");
}

#[test]
fn userspace_outlives_a_new_address() {
    outlives_a_new_address("userspace");
}

/// How long may pass without a byte: less than WireGuard's wait for another try (`REKEY_TIMEOUT`, 5 s), which
/// is what a session that lapses costs. That it is under a second is the benchmark's to say.
const LAPSED_S: f64 = 4.0;

#[test]
fn keys_are_renewed_while_data_flow() {
    if !possible() {
        return;
    }
    for (case, stall) in rekey::longest_stalls() {
        let stall = stall.unwrap();
        assert!(stall < LAPSED_S, "{case:?}: data stood still for {stall} s");
        println!("{case:?}: data stood still for {stall:.2} s");
    }
}
