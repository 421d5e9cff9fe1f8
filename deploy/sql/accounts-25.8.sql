-- The three accounts of storage-service and storage-gateway on a ClickHouse server of version 25.8. It
-- forgets the filter of the last grant when it starts again (SHOW GRANTS FOR storage_splice shows it), so an
-- account has it that runs nothing a caller wrote. On later versions accounts.sql is enough.
-- Replace the passwords, the databases and the URL, then run it as an administrator:
--   clickhouse-client --multiquery < accounts-25.8.sql
-- and name them in the daemon's configuration: user storage_owner, query_user storage_query, splice_user storage_splice.
-- On the NAS leave storage_splice out.

CREATE SETTINGS PROFILE IF NOT EXISTS storage_query SETTINGS allow_introspection_functions = '0' READONLY, format_avro_schema_registry_url = '' READONLY, format_schema = '' READONLY, format_template_resultset = '' READONLY, format_template_row = '' READONLY, input_format_record_errors_file_path = '' READONLY, output_format_schema = '' READONLY, rename_files_after_processing = '' READONLY;
CREATE USER IF NOT EXISTS storage_owner IDENTIFIED WITH sha256_password BY 'OWNER_PASSWORD';
CREATE USER IF NOT EXISTS storage_query IDENTIFIED WITH sha256_password BY 'QUERY_PASSWORD' SETTINGS PROFILE 'storage_query';
CREATE USER IF NOT EXISTS storage_splice IDENTIFIED WITH sha256_password BY 'SPLICE_PASSWORD' SETTINGS PROFILE 'storage_query';

GRANT ALL ON `marketprism_hot`.* TO storage_owner;
GRANT ALL ON `marketprism_cold`.* TO storage_owner;
GRANT ALL ON `storage_internal`.* TO storage_owner;
GRANT SELECT ON system.* TO storage_owner;
GRANT CREATE DATABASE ON *.* TO storage_owner;

GRANT SELECT ON `marketprism_hot`.* TO storage_query;
GRANT SELECT ON `marketprism_cold`.* TO storage_query;
GRANT SELECT ON `storage_internal`.* TO storage_query;
GRANT SELECT ON system.aggregate_function_combinators TO storage_query;
GRANT SELECT ON system.collations TO storage_query;
GRANT SELECT ON system.columns TO storage_query;
GRANT SELECT ON system.contributors TO storage_query;
GRANT SELECT ON system.data_skipping_indices TO storage_query;
GRANT SELECT ON system.data_type_families TO storage_query;
GRANT SELECT ON system.databases TO storage_query;
GRANT SELECT ON system.formats TO storage_query;
GRANT SELECT ON system.functions TO storage_query;
GRANT SELECT ON system.keywords TO storage_query;
GRANT SELECT ON system.licenses TO storage_query;
GRANT SELECT ON system.numbers TO storage_query;
GRANT SELECT ON system.numbers_mt TO storage_query;
GRANT SELECT ON system.one TO storage_query;
GRANT SELECT ON system.projections TO storage_query;
GRANT SELECT ON system.settings TO storage_query;
GRANT SELECT ON system.table_engines TO storage_query;
GRANT SELECT ON system.table_functions TO storage_query;
GRANT SELECT ON system.tables TO storage_query;
GRANT SELECT ON system.time_zones TO storage_query;
GRANT SELECT ON system.zeros TO storage_query;
GRANT SELECT ON system.zeros_mt TO storage_query;
GRANT CREATE TEMPORARY TABLE ON *.* TO storage_query;

GRANT SELECT ON `marketprism_hot`.* TO storage_splice;
GRANT SELECT ON `marketprism_cold`.* TO storage_splice;
GRANT SELECT ON `storage_internal`.* TO storage_splice;
GRANT SELECT ON system.aggregate_function_combinators TO storage_splice;
GRANT SELECT ON system.collations TO storage_splice;
GRANT SELECT ON system.columns TO storage_splice;
GRANT SELECT ON system.contributors TO storage_splice;
GRANT SELECT ON system.data_skipping_indices TO storage_splice;
GRANT SELECT ON system.data_type_families TO storage_splice;
GRANT SELECT ON system.databases TO storage_splice;
GRANT SELECT ON system.formats TO storage_splice;
GRANT SELECT ON system.functions TO storage_splice;
GRANT SELECT ON system.keywords TO storage_splice;
GRANT SELECT ON system.licenses TO storage_splice;
GRANT SELECT ON system.numbers TO storage_splice;
GRANT SELECT ON system.numbers_mt TO storage_splice;
GRANT SELECT ON system.one TO storage_splice;
GRANT SELECT ON system.projections TO storage_splice;
GRANT SELECT ON system.settings TO storage_splice;
GRANT SELECT ON system.table_engines TO storage_splice;
GRANT SELECT ON system.table_functions TO storage_splice;
GRANT SELECT ON system.tables TO storage_splice;
GRANT SELECT ON system.time_zones TO storage_splice;
GRANT SELECT ON system.zeros TO storage_splice;
GRANT SELECT ON system.zeros_mt TO storage_splice;
GRANT CREATE TEMPORARY TABLE ON *.* TO storage_splice;
GRANT READ ON URL('http://data-storage-service:8002/internal/v1/cold/.*') TO storage_splice;
