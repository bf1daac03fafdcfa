DROP TABLE key_credentials;
