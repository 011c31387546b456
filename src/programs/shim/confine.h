/*
 * What creto-shim gives up before it reads from anybody: everything but its descriptors.
 */
#pragma once

/* 0, or -1 with errno. */
int confine_shim(void);
