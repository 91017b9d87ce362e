"""Content type `rpm`: yum repositories, read and written with createrepo_c."""
