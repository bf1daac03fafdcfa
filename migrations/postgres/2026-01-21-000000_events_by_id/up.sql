-- Ids of events begin with the moment in which they began, to the millisecond (UUIDv7): the index of the primary key
-- finds events of a time as well, and each index less is one less to walk and to write for every event.

DROP INDEX spend_events_started_at;
DROP INDEX spend_events_tagged;
