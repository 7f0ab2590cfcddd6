-- An upload serves every asset of its dispatch that awaits the same bytes, found without a look
-- at the others. Rows leave the index when their content is there.
CREATE INDEX assets_awaited ON assets (dispatch, sha1, size) WHERE content IS NULL;
