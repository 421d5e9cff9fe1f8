//! A process is killed at every point of a move.

use fault_points::{Daemon, Point};
use storage_types::service_api::MigrationState;
use testbed::stack::Role;

use crate::scene::Scene;

/// Kills `role` at every point of a move, each followed by a restart; what is seen never changes, the move
/// goes on where it was, and in the end every row has moved once.
async fn killed_everywhere(table: &str, role: Role) {
    let mut scene = Scene::start().await;
    // What stays makes every later move of the month a window.
    let stays = if table == "monthly" { 2 } else { 0 };
    if stays > 0 {
        scene.fill(table, 1_000_000, stays, 20, 1).await;
    }
    // Rows of a coarse partition are deleted by their condition, no part is dropped; a move that is not given up
    // retires nothing.
    let reaches = |point: &Point| {
        let drops = table == "daily" || *point != Point::MoveDeletePartDropped;
        drops && !point.name().starts_with("move.retire.")
    };
    let of_the_service = Point::ALL.iter().copied().filter(|point| point.daemon() == Daemon::Service);
    let points: Vec<Point> = of_the_service.filter(reaches).collect();
    for (round, &point) in (0_u64..).zip(&points) {
        let last = 15;
        scene.fill(table, round * 1000, 600, (round % 15) as i64, 1).await;
        let seen = scene.seen(table).await;
        let migration = scene.hold(table, last, point).await;
        if role == Role::Service {
            scene.stack.kill(role).unwrap();
            scene.release(point);
            scene.stack.restart(role).await.unwrap();
        } else {
            scene.stack.kill(role).unwrap();
            scene.stack.relaunch(role).unwrap();
            scene.stack.ready(role).await.unwrap();
            scene.release(point);
        }
        assert_eq!(scene.seen(table).await, seen, "{point}");
        scene
            .until(&format!("the move ends after {point}"), async |s| {
                s.service
                    .migrations()
                    .await
                    .is_ok_and(|all| all.iter().all(|m| m.state != MigrationState::Running))
            })
            .await;
        assert_eq!(scene.seen(table).await, seen, "{point}");
        let report = scene.finished(migration).await;
        assert_eq!(report.state, MigrationState::Done, "{point}: {report:#?}");
        assert_eq!(
            scene.sql(&format!("SELECT count() FROM hot.{table}")).await,
            stays.to_string(),
            "{point}"
        );
    }
    let cold = scene.cold.number(&format!("SELECT count() FROM cold.{table}")).await.unwrap();
    assert_eq!(cold, points.len() as u64 * 600);
}

#[tokio::test]
async fn the_service_may_be_killed_at_every_point_of_a_whole_partition() {
    killed_everywhere("daily", Role::Service).await;
}

#[tokio::test]
async fn the_service_may_be_killed_at_every_point_of_a_window() {
    killed_everywhere("monthly", Role::Service).await;
}

#[tokio::test]
async fn the_hot_engine_may_be_killed_at_every_point_of_a_whole_partition() {
    killed_everywhere("daily", Role::Hot).await;
}

#[tokio::test]
async fn the_hot_engine_may_be_killed_at_every_point_of_a_window() {
    killed_everywhere("monthly", Role::Hot).await;
}
