-- The first schema stands whole in schema.sql; a database older than it does not exist.
select 1;
