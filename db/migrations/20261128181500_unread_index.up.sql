-- No query finds events by when they came in: those that wait have an index of their own, and the others lie by id. Each
-- event would pay for it twice, when it is stored and when it is dispatched.
DROP INDEX events_received;
