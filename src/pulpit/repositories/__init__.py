"""Operations on repositories: sync, publish, promotion, copies, uploads, exports, and removal of orphans."""
