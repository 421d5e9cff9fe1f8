//! Staging → live table, partition by partition, and back out again.
//!
//! `MOVE PARTITION` renames parts; no row is copied. It is not atomic over partitions, and a crash
//! inside one can leave rows in both tables, so nothing is concluded from its answer: the live table
//! is counted and hashed afterwards, and anything but the exact batch is taken out again
//! ([`super::remove`]) and loaded anew from the spool. Queries see none of this: they read only batches
//! that the service has published.

use clickhouse_http::client::Client;
use clickhouse_sql::quote;
use fault_points::Point;
use serde::Deserialize;
use storage_types::Manifest;

use crate::{
    cold::{
        DDL_DEADLINE, LOOK_DEADLINE, TableName,
        ledger::{self, Standing},
        proof,
    },
    error::GatewayError,
};

/// Moves every partition of `staging` into the live table.
pub async fn attach(engine: &Client, manifest: &Manifest, staging: &TableName) -> Result<(), GatewayError> {
    #[derive(Deserialize)]
    struct Row {
        id: String,
    }
    // From here on rows of the batch may be in the live table: the ledger must know what they are.
    ledger::note(engine, manifest, Standing::Attaching).await?;
    fault_points::reach(Point::GatewayAttachBeforeEffect).await;
    let sql = format!("SELECT DISTINCT _partition_id AS id FROM {staging} ORDER BY id");
    let partitions: Vec<Row> = engine.query(sql).deadline(LOOK_DEADLINE).rows().await?;
    let live = proof::live(manifest);
    for Row { id } in partitions {
        engine
            .query(format!("ALTER TABLE {staging} MOVE PARTITION ID {} TO TABLE {live}", quote::string(&id)))
            .setting("max_partition_size_to_drop", "0")
            .setting("max_table_size_to_drop", "0")
            .deadline(DDL_DEADLINE)
            .execute()
            .await?;
        fault_points::reach(Point::GatewayAttachPartitionMoved).await;
    }
    fault_points::reach(Point::GatewayAttachAfterEffect).await;
    Ok(())
}
