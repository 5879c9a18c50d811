"""Articles from PMC's Cloud Service: the bucket `pmc-oa-opendata`, as any S3 server serves it."""
