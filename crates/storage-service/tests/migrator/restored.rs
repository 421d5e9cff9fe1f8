//! Older states come back: a catalog that is lost, damaged or a copy, a hot server that is put back.

use fault_points::Point;
use storage_types::service_api::MigrationState;
use testbed::stack::Role;

use crate::scene::{Scene, rows};

#[tokio::test]
async fn a_catalog_lost_in_the_middle_of_a_move_loses_and_doubles_nothing() {
    for (table, point) in [
        ("daily", Point::MoveSendAfterEffect),
        ("daily", Point::MovePublishAfterJournal),
        ("daily", Point::MoveTellAfterJournal),
        ("monthly", Point::MoveDeleteBeforeEffect),
        ("daily", Point::MoveDeletePartDropped),
        ("monthly", Point::MoveDeleteAfterEffect),
        ("daily", Point::MoveFinishAfterJournal),
    ] {
        let mut scene = Scene::start().await;
        scene.fill(table, 0, 3_000, 0, 2).await;
        let seen = scene.seen(table).await;
        scene.hold(table, 1, point).await;
        lose_catalog(&mut scene).await;
        assert_eq!(scene.seen(table).await, seen, "{point}");
        scene
            .until("left-over moves end", async |s| {
                let all = s.service.migrations().await.unwrap();
                all.iter().all(|m| m.state != MigrationState::Running)
            })
            .await;
        assert_eq!(scene.seen(table).await, seen, "{point}");
        scene.migrate(table, 1).await;
        assert_eq!(scene.seen(table).await, seen, "{point}");
        let left = format!("SELECT count() FROM hot.{table}");
        scene.until("its rows are reclaimed", async |s| s.sql(&left).await == "1500").await;
        assert_eq!(scene.seen(table).await, seen, "{point}");
    }
}

/// Kills the service, does `harm` to each file of its catalog, and starts it again.
async fn harm_catalog(scene: &mut Scene, harm: impl Fn(&std::path::Path)) {
    scene.stack.kill(Role::Service).unwrap();
    let mut harmed = 0;
    let mut pending = vec![scene.dir.path().to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if name.starts_with("catalog.sqlite") {
                harm(&path);
                harmed += 1;
            } else if entry.file_type().unwrap().is_dir()
                && !name.starts_with("hot")
                && !name.starts_with("cold")
            {
                pending.push(path);
            }
        }
    }
    assert!(harmed > 0);
    scene.stack.restart(Role::Service).await.unwrap();
}

/// Deletes the catalog of a killed service and starts it again.
async fn lose_catalog(scene: &mut Scene) {
    harm_catalog(scene, |file| std::fs::remove_file(file).unwrap()).await;
}

#[tokio::test]
async fn a_lost_catalog_is_rebuilt_from_the_gateway() {
    let mut scene = Scene::start().await;
    scene.fill("daily", 0, 4_000, 0, 4).await;
    scene.migrate("daily", 2).await;
    let seen = scene.seen("daily").await;
    lose_catalog(&mut scene).await;
    assert_eq!(scene.seen("daily").await, seen);
    assert_eq!(rows(&scene.migrate("daily", 3).await.moves), 1_000);
    assert_eq!(scene.seen("daily").await, seen);
}

#[tokio::test]
async fn a_damaged_catalog_is_set_aside_and_rebuilt_from_the_gateway() {
    let mut scene = Scene::start().await;
    scene.fill("daily", 0, 4_000, 0, 4).await;
    scene.migrate("daily", 2).await;
    let seen = scene.seen("daily").await;
    harm_catalog(&mut scene, |file| {
        let length = std::fs::metadata(file).unwrap().len();
        std::fs::write(file, vec![0xa5; length as usize]).unwrap();
    })
    .await;
    assert_eq!(scene.seen("daily").await, seen);
    assert!(scene.log().contains("the journal is damaged"), "{}", scene.log());
    assert_eq!(rows(&scene.migrate("daily", 3).await.moves), 1_000);
    assert_eq!(scene.seen("daily").await, seen);
}

/// Yesterday's copy of the catalog does not know what was deleted from the head since: it says so by the hot
/// server's witness, and learns it from the gateway before it answers.
#[tokio::test]
async fn an_older_copy_of_the_catalog_learns_what_was_moved_since() {
    let mut scene = Scene::start().await;
    scene.fill("daily", 0, 4_000, 0, 4).await;
    let seen = scene.seen("daily").await;
    scene.migrate("daily", 1).await;
    let copied = copy_catalog(&mut scene).await;
    scene.migrate("daily", 2).await;

    // Started as often as the file that it is a copy of.
    put_back_catalog(&mut scene, copied).await;
    assert_eq!(scene.seen("daily").await, seen);
    assert_eq!(rows(&scene.migrate("daily", 3).await.moves), 1_000);
    assert_eq!(scene.seen("daily").await, seen);
    assert_eq!(scene.cold.number("SELECT count() FROM cold.daily").await.unwrap(), 3_000);
}

/// The files of the catalog, copied while the service is down; it is started again.
async fn copy_catalog(scene: &mut Scene) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let copied = parking_lot::Mutex::new(Vec::new());
    harm_catalog(scene, |file| copied.lock().push((file.to_owned(), std::fs::read(file).unwrap()))).await;
    copied.into_inner()
}

async fn put_back_catalog(scene: &mut Scene, copied: Vec<(std::path::PathBuf, Vec<u8>)>) {
    scene.stack.kill(Role::Service).unwrap();
    for (file, bytes) in copied {
        std::fs::write(file, bytes).unwrap();
    }
    scene.stack.restart(Role::Service).await.unwrap();
}

/// The copy was taken while batches were under way that were published since, and their rows deleted.
#[tokio::test]
async fn an_older_copy_with_batches_under_way_learns_what_became_of_them() {
    for point in [Point::MoveEncodeAfterJournal, Point::MoveSendAfterJournal, Point::MovePublishBefore] {
        let mut scene = Scene::start().await;
        scene.fill("daily", 0, 4_000, 0, 4).await;
        let seen = scene.seen("daily").await;
        scene.hold("daily", 2, point).await;
        let copied = copy_catalog(&mut scene).await;
        let left = "SELECT count() FROM hot.daily";
        scene.until("the rows are moved", async |s| s.sql(left).await == "2000").await;
        put_back_catalog(&mut scene, copied).await;
        assert_eq!(scene.seen("daily").await, seen, "{point}");
        scene
            .until("it is claimed again", async |s| {
                s.service.migrate(&Scene::request("daily", 3)).await.is_ok()
            })
            .await;
        scene.until("the next rows are moved", async |s| s.sql(left).await == "1000").await;
        assert_eq!(scene.seen("daily").await, seen, "{point}");
    }
}

/// The catalog is lost while the NAS is proving a batch. It knows of it all the same: the rows go again under
/// another id, and what the NAS has proven by then is not read beside them.
#[tokio::test]
async fn a_batch_proven_for_a_lost_catalog_is_never_read() {
    let mut scene = Scene::start().await;
    scene.fill("daily", 0, 4_000, 0, 4).await;
    scene.migrate("daily", 1).await;
    let seen = scene.seen("daily").await;
    scene.hold("daily", 2, Point::GatewayProveAfterEffect).await;
    lose_catalog(&mut scene).await;
    assert_eq!(scene.seen("daily").await, seen);
    scene.release(Point::GatewayProveAfterEffect);
    let twice = "SELECT count() FROM cold.daily";
    assert_eq!(rows(&scene.migrate("daily", 2).await.moves), 1_000);
    scene.until("both have arrived", async |s| s.cold.number(twice).await.unwrap() == 3_000).await;
    assert_eq!(scene.seen("daily").await, seen);
}

/// Only the engine was stopped, put back and started: the service runs on, and notices.
#[tokio::test]
async fn a_hot_server_put_back_under_a_running_service_is_noticed() {
    let mut scene = Scene::start().await;
    scene.fill("daily", 0, 4_000, 0, 4).await;
    let seen = scene.seen("daily").await;
    let yesterday = copy_hot(&mut scene).await;
    insert_what_is_lost(&scene).await;
    scene.migrate("daily", 2).await;
    let left = "SELECT count() FROM hot.daily";
    assert_eq!(scene.sql(left).await, "2010");

    put_back_hot(&mut scene, &yesterday).await;
    scene.until("the rows are deleted again", async |s| s.sql(left).await == "2000").await;
    assert_eq!(scene.seen("daily").await, seen);
}

/// The hot server is put back to yesterday: rows are in its table again that were moved since.
#[tokio::test]
async fn a_hot_server_put_back_to_an_older_state_doubles_nothing() {
    let mut scene = Scene::start().await;
    scene.fill("daily", 0, 4_000, 0, 4).await;
    scene.migrate("daily", 1).await;
    let seen = scene.seen("daily").await;
    let yesterday = copy_hot(&mut scene).await;
    insert_what_is_lost(&scene).await;
    scene.migrate("daily", 2).await;

    scene.stack.kill(Role::Service).unwrap();
    put_back_hot(&mut scene, &yesterday).await;
    scene.stack.restart(Role::Service).await.unwrap();
    assert_eq!(scene.seen("daily").await, seen);
    let left = "SELECT count() FROM hot.daily";
    scene.until("the rows are deleted again", async |s| s.sql(left).await == "2000").await;
    assert_eq!(scene.seen("daily").await, seen);
}

/// A power cut takes back what was deleted last, and nothing else: the witness is there, so that nothing looks put back.
#[tokio::test]
async fn a_deletion_that_a_power_cut_takes_back_is_done_again() {
    // All of it, or some of it.
    taken_back(&[]).await;
    taken_back(&["20260111"]).await;
}

/// All but these partitions are what they were before the deletion.
async fn taken_back(but: &[&str]) {
    let mut scene = Scene::start().await;
    scene.fill("daily", 0, 4_000, 0, 4).await;
    let id = scene.hold("daily", 2, Point::MoveDeleteBeforeEffect).await;
    let seen = scene.seen("daily").await;
    let table = scene.sql("SELECT uuid FROM system.tables WHERE database = 'hot' AND name = 'daily'").await;
    let before = copy_hot(&mut scene).await;
    scene.release(Point::MoveDeleteBeforeEffect);
    assert_eq!(scene.finished(id).await.state, MigrationState::Done);
    let left = "SELECT count() FROM hot.daily";
    assert_eq!(scene.sql(left).await, "2000");
    // Starts are told apart by the second.
    scene.until("the engine runs for a while", async |s| s.sql("SELECT uptime() > 4").await == "1").await;

    scene.stack.kill(Role::Hot).unwrap();
    let parts = |hot: &std::path::Path| hot.join("data/store").join(&table[..3]).join(&table);
    let (now, then) = (parts(&scene.stack.dir().join("hot")), parts(&before));
    for partition in but {
        for (from, to) in [(&then, None), (&now, Some(&then))] {
            let parts = std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path());
            let is_of =
                |part: &std::path::Path| part.file_name().unwrap().to_str().unwrap().starts_with(partition);
            for part in parts.filter(|part| is_of(part)) {
                match to {
                    Some(to) => copy_folder(&part, to),
                    None => std::fs::remove_dir_all(&part).unwrap(),
                }
            }
        }
    }
    std::fs::remove_dir_all(&now).unwrap();
    copy_folder(&then, &now);
    scene.stack.restart(Role::Hot).await.unwrap();
    scene.until("the rows are deleted again", async |s| s.sql(left).await == "2000").await;
    assert_eq!(scene.seen("daily").await, seen);
}

/// Rows that stay, and that the copy does not have: the table counts from a lower number when it is put back.
async fn insert_what_is_lost(scene: &Scene) {
    for n in 0..10 {
        scene.fill("daily", 50_000 + n, 1, 3, 1).await;
    }
}

/// The hot engine's folder, copied while it is down; it is started again.
async fn copy_hot(scene: &mut Scene) -> std::path::PathBuf {
    let copy = scene.dir.path().join("yesterday");
    scene.stack.kill(Role::Hot).unwrap();
    copy_folder(&scene.stack.dir().join("hot"), &copy);
    scene.stack.restart(Role::Hot).await.unwrap();
    copy
}

async fn put_back_hot(scene: &mut Scene, copy: &std::path::Path) {
    let data = scene.stack.dir().join("hot");
    scene.stack.kill(Role::Hot).unwrap();
    std::fs::remove_dir_all(&data).unwrap();
    copy_folder(copy, &data);
    scene.stack.restart(Role::Hot).await.unwrap();
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}
