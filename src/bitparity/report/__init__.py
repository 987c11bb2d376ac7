"""Reports that people read: Markdown, HTML, the terminal, exports, filled tables, the CI gate."""
