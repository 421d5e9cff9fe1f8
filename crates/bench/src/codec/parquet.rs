//! Parquet as well as it can be made for these tables: decimals and times as scaled integers with
//! DELTA_BINARY_PACKED, words in dictionaries, zstd 22 over all.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use parquet::{
    basic::{Compression, Encoding, Repetition, Type as Physical, ZstdLevel},
    data_type::{ByteArray, ByteArrayType, Int64Type},
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::types::{ColumnPath, Type},
};

use super::data::Sample;
use testbed::{clients::ClickHouse, market::tables};

/// A column's name, how the engine is asked for it, and whether that is text.
struct Column {
    name: &'static str,
    sql: String,
    text: bool,
}

fn columns(table: &str) -> Result<Vec<Column>> {
    let table = tables::ALL.into_iter().find(|t| t.name == table).context("a table")?;
    let column = |name: &'static str| {
        let (sql, text) = match name {
            "timestamp" | "trade_time" | "created_at" => (format!("toUnixTimestamp64Milli({name})"), false),
            "trade_id" => ("toInt64(trade_id)".to_owned(), false),
            "last_update_id" | "bids_count" | "asks_count" | "is_maker" => {
                (format!("toInt64({name})"), false)
            }
            "exchange" | "market_type" | "symbol" | "side" | "data_source" | "bids" | "asks" => {
                (format!("toString({name})"), true)
            }
            _ => (format!("reinterpretAsInt64({name})"), false),
        };
        Column { name, sql, text }
    };
    Ok(table.columns().into_iter().map(column).collect())
}

/// Bytes of the file.
pub(super) async fn delta_packed(hot: &ClickHouse, sample: &Sample) -> Result<f64> {
    let columns = columns(sample.table)?;
    let schema = schema(&columns)?;
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(22)?))
        .set_max_row_group_row_count(Some(1 << 20));
    for column in columns.iter().filter(|column| !column.text) {
        let path = ColumnPath::from(column.name);
        properties = properties
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
    }
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties.build()))?;
    let mut group = writer.next_row_group()?;
    for column in &columns {
        let sql = format!(
            "SELECT {} FROM bench.{} ORDER BY {} FORMAT RowBinary",
            column.sql, sample.table, sample.order_by
        );
        let bytes = hot.bytes(&sql, &[]).await?;
        let mut out = group.next_column()?.context("a column too many")?;
        if column.text {
            out.typed::<ByteArrayType>().write_batch(&texts(&bytes)?, None, None)?;
        } else {
            let values: Vec<i64> = bytes.as_chunks::<8>().0.iter().map(|v| i64::from_le_bytes(*v)).collect();
            out.typed::<Int64Type>().write_batch(&values, None, None)?;
        }
        out.close()?;
    }
    group.close()?;
    Ok(writer.into_inner()?.len() as f64)
}

fn schema(columns: &[Column]) -> Result<Arc<Type>> {
    let fields = columns
        .iter()
        .map(|column| {
            let physical = if column.text { Physical::BYTE_ARRAY } else { Physical::INT64 };
            let field = Type::primitive_type_builder(column.name, physical);
            Ok(Arc::new(field.with_repetition(Repetition::REQUIRED).build()?))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(Type::group_type_builder("rows").with_fields(fields).build()?))
}

/// Strings of RowBinary: a varint length and the bytes.
fn texts(mut bytes: &[u8]) -> Result<Vec<ByteArray>> {
    let mut texts = Vec::new();
    while !bytes.is_empty() {
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let (byte, rest) = bytes.split_first().context("a string that ends early")?;
            bytes = rest;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        ensure!(length <= bytes.len(), "a string that ends early");
        let (text, rest) = bytes.split_at(length);
        texts.push(ByteArray::from(text.to_vec()));
        bytes = rest;
    }
    Ok(texts)
}
