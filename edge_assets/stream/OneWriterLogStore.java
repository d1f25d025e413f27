package edge_assets;

import io.delta.storage.S3SingleDriverLogStore;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.util.Arrays;
import java.util.Iterator;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;

/**
 * Delta's log in a bucket, for a table with one writer: a commit is put there with `If-None-Match`, or not at all.
 *
 * Delta's own store for S3 asks whether the file is there and then writes it. What a killed writer had on its way to
 * the bucket can arrive between the two, or after both, and one of the commits would vanish without a trace. Where
 * another commit has the number, this one fails, and does not take the next number as Delta would: its records may be
 * those of the other one. The stream writer then starts anew and looks at what the tables hold.
 */
public final class OneWriterLogStore extends S3SingleDriverLogStore {
    public OneWriterLogStore(Configuration conf) {
        super(conf);
    }

    public void write(Path path, Iterator actions, Boolean overwrite, Configuration conf) throws IOException {
        if (overwrite.booleanValue()) {
            super.write(path, actions, overwrite, conf);
            return;
        }
        ByteArrayOutputStream lines = new ByteArrayOutputStream();
        while (actions.hasNext()) {
            lines.write(((String) actions.next()).getBytes("UTF-8"));
            lines.write('\n');
        }
        byte[] commit = lines.toByteArray();
        FileSystem bucket = path.getFileSystem(conf);
        try {
            put(bucket, path, commit);
        } catch (IOException error) {
            // A put whose answer was lost is tried again by Amazon's SDK, and then finds itself there.
            if (!bucket.exists(path)) {
                throw error;
            }
            if (!Arrays.equals(read(bucket, path), commit)) {
                throw new IOException("another writer has committed " + path + "; this one begins anew", error);
            }
        }
    }

    private static void put(FileSystem bucket, Path path, byte[] commit) throws IOException {
        FSDataOutputStream out = (FSDataOutputStream) bucket.createFile(path)
            .overwrite(false)
            .must("fs.option.create.conditional.overwrite", true)
            .build();
        try {
            out.write(commit);
        } finally {
            out.close();
        }
    }

    private static byte[] read(FileSystem bucket, Path path) throws IOException {
        ByteArrayOutputStream found = new ByteArrayOutputStream();
        InputStream in = bucket.open(path);
        try {
            byte[] part = new byte[8192];
            for (int count = in.read(part); count >= 0; count = in.read(part)) {
                found.write(part, 0, count);
            }
        } finally {
            in.close();
        }
        return found.toByteArray();
    }
}
