"""What a person gives: pictures, videos, folders of them, read, cut out and centred."""
