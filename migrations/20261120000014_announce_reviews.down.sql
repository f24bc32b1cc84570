drop index reviews_unannounced;
alter table reviews drop column announced_at;
