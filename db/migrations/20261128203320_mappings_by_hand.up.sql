-- Who entered a record's id by hand, where nothing here made or found it.
ALTER TABLE mapping_slots ADD COLUMN entered_by text;
