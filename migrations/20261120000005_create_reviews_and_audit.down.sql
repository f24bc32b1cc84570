drop table audit_log;
drop table reviews;
