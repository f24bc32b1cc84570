-- The role and the database of the Dealix API. Can be run again and changes nothing then:
--
--   sudo -u postgres psql -v ON_ERROR_STOP=1 -f deploy/postgres.sql
--
-- The role has no password: on its own machine the system user `dealix` is let in by the socket
-- (`peer` in pg_hba.conf), with DATABASE_URL=postgres:///dealix?host=/var/run/postgresql&user=dealix.
-- From another machine, give it one (\password dealix), and a `hostssl … scram-sha-256` line.

-- It owns its database and nothing else; the service warns when its role is more than that.
select 'create role dealix login nosuperuser nocreatedb nocreaterole noreplication'
where not exists (select from pg_roles where rolname = 'dealix') \gexec

select 'create database dealix owner dealix template template0 encoding ''UTF8'''
where not exists (select from pg_database where datname = 'dealix') \gexec

revoke all on database dealix from public;

-- A transaction that nobody ends keeps its locks and stops vacuum from cleaning up.
alter role dealix in database dealix set idle_in_transaction_session_timeout = '10s';
alter role dealix in database dealix set timezone = 'UTC';

\connect dealix
revoke create on schema public from public;
grant all on schema public to dealix;
