-- A filter finds what one organization has, without reading what others have under the same name or tag.

CREATE INDEX certificate_metadata_organization_id_sans_idx ON certificate_metadata USING gin (organization_id, sans);
CREATE INDEX certificate_metadata_organization_id_tags_idx ON certificate_metadata USING gin (organization_id, tags jsonb_path_ops);
CREATE INDEX certificate_metadata_organization_id_tag_names_idx ON certificate_metadata USING gin (organization_id, tag_names);
-- Those of one status, newest first.
CREATE INDEX certificate_metadata_organization_id_status_id_idx ON certificate_metadata (organization_id, status, id) WHERE deleted_at IS NULL;
-- The wider ones take their place, also for searches over all organizations.
DROP INDEX certificate_metadata_sans_idx, certificate_metadata_tags_idx, certificate_metadata_tag_names_idx;
