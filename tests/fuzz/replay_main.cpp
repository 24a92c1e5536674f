// Runs a target over files that were found before: what a compiler without libFuzzer can do with a corpus.

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

bool replay(const std::filesystem::path& file)
{
    std::ifstream in{file, std::ios::binary};
    if (!in) {
        std::fprintf(stderr, "cannot read %s\n", file.c_str());
        return false;
    }
    const std::vector<char> text{std::istreambuf_iterator<char>{in}, {}};
    const std::vector<std::uint8_t> content{text.begin(), text.end()};
    std::fprintf(stderr, "%s\n", file.c_str()); // before it runs: it may be the last line
    LLVMFuzzerTestOneInput(content.data(), content.size());
    return true;
}

} // namespace

int main(int argc, char** argv)
{
    namespace fs = std::filesystem;
    if (argc < 2) {
        std::fprintf(stderr, "usage: %s FILE_OR_FOLDER...\n", argv[0]);
        return 2;
    }
    int runs = 0;
    for (int i = 1; i < argc; ++i) {
        std::vector<fs::path> files;
        if (fs::is_directory(argv[i])) {
            for (const auto& entry : fs::directory_iterator{argv[i]})
                files.push_back(entry.path());
        }
        else
            files.emplace_back(argv[i]);
        for (const fs::path& file : files) {
            if (!replay(file))
                return 1;
            ++runs;
        }
    }
    std::fprintf(stderr, "%d inputs\n", runs);
    return runs > 0 ? 0 : 1; // an empty corpus has shown nothing
}
