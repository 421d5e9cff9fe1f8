//! One function per command: ask the daemon, print.

use std::io::Write;

use futures::StreamExt;
use link::Peer;
use serde::{Serialize, de::DeserializeOwned};
use storage_types::{
    MoveId,
    gateway_api::{Accept, BatchPage, GatewayStatus},
    service_api::{
        AdoptReport, CatalogReport, KeptCopy, LinkLimit, MigrationReport, MoveDecision, QueryReport,
        QueryRequest, ServiceStatus,
    },
};

use crate::{
    args::{Command, GatewayCommand, LinkCommand, MoveCommand, QueryArgs, TableCommand},
    failure::Failure,
    migrate, pair, report, text,
};

/// Does what `command` says.
pub async fn run(peer: &Peer, command: Command, json: bool, out: &mut impl Write) -> Result<(), Failure> {
    match command {
        Command::Status => show::<ServiceStatus, _>(peer, "/api/v1/status", json, out, report::status).await,
        Command::Tables => show::<CatalogReport, _>(peer, "/api/v1/catalog", json, out, report::tables).await,
        Command::Catalog => {
            show::<CatalogReport, _>(peer, "/api/v1/catalog", json, out, |out, catalog| {
                writeln!(out, "version {}", catalog.version)?;
                report::tables(out, catalog)
            })
            .await
        }
        Command::Migrations => {
            show::<Vec<MigrationReport>, _>(peer, "/api/v1/migrations", json, out, |out, all| {
                report::migrations(out, all)
            })
            .await
        }
        Command::Migration { id } => {
            let path = format!("/api/v1/migrations/{id}");
            show::<MigrationReport, _>(peer, &path, json, out, report::migration).await
        }
        Command::Cancel { id } => {
            peer.delete(&format!("/api/v1/migrations/{id}")).await?;
            writeln!(out, "migration {id} is being cancelled: moves whose rows are all in hot are given up")?;
            Ok(())
        }
        Command::Move(MoveCommand::KeepHot { id }) => decide(peer, id, KeptCopy::Hot, out).await,
        Command::Move(MoveCommand::KeepCold { id }) => decide(peer, id, KeptCopy::Cold, out).await,
        Command::Table(TableCommand::Adopt { name }) => adopt(peer, &name, json, out).await,
        Command::Migrate(args) => migrate::run(peer, args, json, out).await,
        Command::Query(args) => query(peer, args, out).await,
        Command::Link(LinkCommand::Pair(args)) => pair::run(&args, out),
        Command::Link(LinkCommand::Limit { rate }) => {
            let limit = (rate != "timetable").then(|| rate.clone());
            peer.put_json("/api/v1/link/limit", &LinkLimit { limit }).await?;
            writeln!(out, "the link's limit is now {rate}")?;
            Ok(())
        }
        Command::Health => health(peer, out).await,
        Command::Gateway(GatewayCommand::Status) => {
            show::<GatewayStatus, _>(peer, "/v1/status", json, out, report::gateway).await
        }
        Command::Gateway(GatewayCommand::Accept { database, table }) => {
            let accepted = Accept { database, table };
            peer.post_no_content("/v1/accept", &accepted).await?;
            let Accept { database, table } = accepted;
            writeln!(
                out,
                "{} is accepted as it is",
                table.map_or(database.clone(), |t| format!("{database}.{t}"))
            )?;
            Ok(())
        }
        Command::Gateway(GatewayCommand::Batches { after }) => {
            let after = after.map_or_else(String::new, |id| format!("?after={id}"));
            let path = format!("/v1/batches{after}");
            show::<BatchPage, _>(peer, &path, json, out, report::batches).await
        }
    }
}

async fn decide(peer: &Peer, id: MoveId, keep: KeptCopy, out: &mut impl Write) -> Result<(), Failure> {
    peer.post_no_content(&format!("/api/v1/moves/{id}/decision"), &MoveDecision { keep }).await?;
    writeln!(out, "move {id}: decided")?;
    Ok(())
}

async fn show<T: DeserializeOwned + Serialize, W: Write>(
    peer: &Peer,
    path: &str,
    json: bool,
    out: &mut W,
    print: impl FnOnce(&mut W, &T) -> std::io::Result<()>,
) -> Result<(), Failure> {
    if json {
        // The daemon's own answer: fields this version does not know are kept.
        return text::print_json(out, &peer.get::<serde_json::Value>(path).await?);
    }
    print(out, &peer.get::<T>(path).await?)?;
    Ok(())
}

async fn adopt(peer: &Peer, name: &str, json: bool, out: &mut impl Write) -> Result<(), Failure> {
    let plain = !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if !plain {
        return Err(Failure::Failed(format!("{name:?} is no table's name")));
    }
    let path = format!("/api/v1/tables/{name}/adopt");
    let (_, report) = peer.post::<_, AdoptReport>(&path, &serde_json::json!({})).await?;
    if json {
        return text::print_json(out, &report);
    }
    match &report.removed_ttl {
        Some(ttl) => writeln!(
            out,
            "{}: the TTL is gone ({ttl}); rows now leave only once they are cold",
            report.table
        )?,
        None => writeln!(out, "{}: had no TTL; nothing was changed", report.table)?,
    }
    Ok(())
}

async fn query(peer: &Peer, args: QueryArgs, out: &mut impl Write) -> Result<(), Failure> {
    let query_id = uuid::Uuid::now_v7().to_string();
    let request = QueryRequest {
        sql: Some(args.sql),
        format: Some(args.format),
        query_id: Some(query_id.clone()),
        ..QueryRequest::default()
    };
    let mut stream = peer.post_stream("/api/v1/query", &request).await?;
    while let Some(chunk) = stream.next().await {
        // A cut answer is an error, never a short answer.
        out.write_all(&chunk?)?;
    }
    out.flush()?;
    if args.stats {
        let report: QueryReport = peer.get(&format!("/api/v1/queries/{query_id}")).await?;
        eprintln!(
            "route {}, plan {}, catalog version {}, {} over the link",
            report.route,
            report.plan,
            report.catalog_version,
            text::bytes(report.link_bytes)
        );
    }
    Ok(())
}

async fn health(peer: &Peer, out: &mut impl Write) -> Result<(), Failure> {
    if !peer.alive().await {
        return Err(Failure::Away(format!("{} does not answer", peer.url())));
    }
    writeln!(out, "{} is alive", peer.url())?;
    Ok(())
}
