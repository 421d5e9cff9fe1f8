//! Something between the daemons refuses what it should let through: a proxy with another password, a limit on
//! bodies, a path it does not know. Moves wait, say why, throw nothing away, and go on by themselves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic here is a failed test")]

use std::time::Duration;

use storage_types::{MigrationId, MoveState};
use testbed::{
    faults::Point,
    fixture::Fixture,
    stack::{Link, Proxies, StackConfig, free_port},
    wait::eventually,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

const LIMIT: Duration = Duration::from_secs(60);
/// What a proxy says of its own, and how a move tells it: by the number.
const STATUSES: [u16; 4] = [401, 403, 404, 413];

/// Lets everything through to `to`, or answers everything with one status and a page for people.
async fn proxy(listener: TcpListener, to: String, refusing: watch::Receiver<Option<u16>>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(serve(client, to.clone(), refusing.clone()));
    }
}

async fn serve(mut client: TcpStream, to: String, mut refusing: watch::Receiver<Option<u16>>) {
    let refuses = *refusing.borrow_and_update();
    let Some(status) = refuses else {
        let Ok(mut server) = TcpStream::connect(to).await else { return };
        // A connection of before is not one of after.
        tokio::select! {
            _ = copy_bidirectional(&mut client, &mut server) => {}
            _ = refusing.changed() => {}
        }
        return;
    };
    let (mut head, page) = (vec![0_u8; 1 << 16], "<html>no</html>");
    let _ = client.read(&mut head).await;
    let answer = format!(
        "HTTP/1.1 {status} No\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
        page.len()
    );
    let _ = client.write_all(answer.as_bytes()).await;
    let _ = client.shutdown().await;
    // What is still coming is taken, so that the answer is not lost to a reset.
    while client.read(&mut head).await.is_ok_and(|read| read > 0) {}
}

fn port(url: &str) -> u16 {
    url.trim_end_matches('/').rsplit_once(':').unwrap().1.parse().unwrap()
}

/// Until a move of the migration says that it waits because of this status.
async fn waits_because_of(fixture: &Fixture, id: MigrationId, status: u16) {
    let what = format!("a move waits for {status} to pass");
    let told = eventually(&what, async || {
        let moves = fixture.service.migration(id).await.ok()?.moves;
        let mut waits = moves.iter().filter_map(|record| record.waits_for.as_ref());
        waits.any(|wait| wait.what.contains(&status.to_string()) && !wait.help.is_empty()).then_some(())
    });
    if let Err(error) = told.await {
        panic!("{error:#}: {:#?}", fixture.service.migration(id).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_proxy_refuses_waits_and_is_not_thrown_away() {
    let first = free_port(&[]).unwrap();
    let [to_gateway, to_service] = [first, free_port(&[first]).unwrap()];
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let proxies = Proxies { to_gateway: url(to_gateway), to_service: url(to_service), ca_file: None };
    let (refuse, refusing) = watch::channel(None);
    // The daemons' ports are known once the stack is made; it is ready when they have met.
    let change = |config: &mut StackConfig| {
        config.link = Link::ReverseProxy;
        config.proxies = Some(proxies);
        config.timeout_s = 5;
        config.batch_rows = 1_000;
    };
    let fixture = Fixture::with(change).await.unwrap();
    let info = fixture.stack.info();
    let mut proxies = JoinSet::new();
    for (listen, to) in [(to_gateway, &info.gateway.url), (to_service, &info.service.url)] {
        let listener = TcpListener::bind(("127.0.0.1", listen)).await.unwrap();
        proxies.spawn(proxy(listener, format!("127.0.0.1:{}", port(to)), refusing.clone()));
    }
    let oracle = fixture.oracle();
    for status in STATUSES {
        for point in [Point::MoveSendBefore, Point::MoveProveBefore, Point::MoveTellBefore] {
            oracle.preload(4_000).await.unwrap();
            fixture.faults.arm(point).unwrap();
            let id = fixture.service.migrate(&Default::default()).await.unwrap();
            fixture.faults.held(point, LIMIT).await.unwrap();
            refuse.send_replace(Some(status));
            fixture.faults.release(point).unwrap();
            waits_because_of(&fixture, id, status).await;
            refuse.send_replace(None);
            let report = fixture.service.finished(id, LIMIT, |_| ()).await.unwrap();
            for record in &report.moves {
                assert_eq!(record.state, MoveState::Reclaimed, "{status} at {point}: {report:#?}");
                assert_eq!(record.reason, None, "{status} at {point}: nothing was given up");
            }
        }
    }
    let verdict = oracle.finish().await.unwrap();
    assert_eq!(verdict.violations, Vec::<String>::new());
    fixture.stack.stop().unwrap();
}
