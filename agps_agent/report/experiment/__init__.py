"""The results of a declared experiment: gathered from its runs, kept in one small file, drawn and told from that."""
