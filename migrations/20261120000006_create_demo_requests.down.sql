drop table demo_requests;
