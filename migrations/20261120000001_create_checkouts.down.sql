drop table invoices;
drop table checkouts;
