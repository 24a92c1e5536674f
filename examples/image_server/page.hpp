#pragma once
// The gallery's page: page.html, made part of the program when it is built.

namespace image_server {

extern const char* const page_html;

} // namespace image_server
