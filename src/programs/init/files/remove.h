/* Removing a whole tree, however deep, while others may change it. */
#pragma once

/* Returns 0 or an errno. What `path` names, a link to a directory too, is removed itself; nothing outside is reached. */
int remove_tree(const char *path);
