drop table redrives;
